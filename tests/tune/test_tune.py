"""The command: what it finds, what it writes, and what it leaves alone. Every build is a real one."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from modelspec.errors import ModelspecError
from modelspec.execute.pool import Pool
from modelspec.tune.tune import Asked, Listener, tune, write
from tests.build.conftest import Project
from tests.tune.conftest import MakeTiny

GRID = """\
tune:
  data: validation
  sampler: grid
  search:
    quantize.int8.per_channel: [true, false]
    convert.opset: [17, 18]
"""
BLOCKS = """\
tune:
  data: validation
  sampler: grid
  search:
    quantize.int8:
      - {method: static, data: calibration, ranges: minmax}
      - {method: static, data: calibration, ranges: percentile}
    quantize.int8.percentile: [99.9]
"""
NODES = "tune: {data: validation}\n"


def test_trials_share_their_workers(make_tiny: MakeTiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """The libraries are loaded once, whatever the number of trials; the workers end with the search, and none starts for nothing."""
    project, started = make_tiny(GRID), []
    real = Pool._start

    def counted(pool: Pool) -> None:
        real(pool)
        started.append(pool)

    monkeypatch.setattr(Pool, "_start", counted)
    for _ in range(2):
        assert len(tune(Asked(project.spec, project.cache), Listener()).trials) > 2
        assert len(started) == 1
        assert started[0]._server is None
        assert not list((project.cache / "v1" / "tmp").iterdir())


def tuned(project: Project, *arguments: str, exits: int = 0) -> dict[str, Any]:
    """`modelspec tune --format json`."""
    done = project.run("tune", "--format", "json", *arguments)
    assert done.returncode == exits, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_the_smallest_that_passes_is_found_and_a_second_run_builds_nothing(make_tiny: MakeTiny) -> None:
    project = make_tiny(GRID)
    before = project.spec.read_bytes()
    first = tuned(project)
    sizes = {json.dumps(t["changes"]): t["metrics"]["size"] for t in first["trials"]}
    assert len(first["trials"]) == 5
    best = first["trials"][first["best"]]
    assert best["metrics"]["size"] == min(sizes.values()) < max(sizes.values())
    assert best["changes"]["quantize.int8.per_channel"] is False
    assert "+    per_channel: false\n" in first["diff"]
    assert first["ran"] > 0
    assert (project.spec.read_bytes(), first["written"]) == (before, False)
    assert sorted(path.name for path in project.folder.iterdir()) == [
        *("calibration.npz", "model.onnx", "model.yaml", "test.npz", "validation.npz")
    ]

    compared = {path.name for path in (project.cache / "v1" / "latest").rglob("*") if path.is_file()}
    assert compared <= {"stat.json"}, "plan compares with builds, not with trials"

    second = tuned(project)
    assert second["ran"] == 0
    for key in ("best", "front", "diff"):
        assert second[key] == first[key]


@pytest.mark.slow
def test_the_test_set_is_not_looked_at(make_tiny: MakeTiny) -> None:
    """It is named and hashed, and no action reads it: it need not even be a data set."""
    project = make_tiny(GRID)
    (project.folder / "test.npz").write_bytes(b"sealed")
    assert tuned(project)["best"] is not None


@pytest.mark.slow
def test_an_outlier_layer_is_found_and_left_in_float(make_tiny: MakeTiny) -> None:
    project = make_tiny(NODES, outlier=True)
    assert "error[MS502]: accuracy of cpu-int8" in project.build(exits=1)
    before = project.spec.read_text()

    done = project.run("tune", "--exclude-nodes", "--write", "--progress", "none")
    assert done.returncode == 0, done.stderr
    ranking = [line.split()[-2] for line in done.stdout.splitlines() if line.endswith("(MatMul)")]
    assert ranking[0] == "/layer2/MatMul"
    assert len(ranking) == 4
    assert done.stdout.endswith("wrote  model.yaml\nnext  modelspec build\n")
    # All that was there is there, with its comments; and what it says passes on data that the search did not see.
    written = 'says\n    exclude: ["/layer2/MatMul"]\n'
    assert project.spec.read_text() == before.replace("says\n", written)
    assert "FAILED" not in project.build()

    again = tuned(project, "--exclude-nodes")
    assert (again["best"], again["ranking"], again["diff"]) == (0, [], "")


@pytest.mark.slow
def test_values_that_do_not_go_together_are_refused_and_the_search_goes_on(make_tiny: MakeTiny) -> None:
    project = make_tiny(BLOCKS)
    project.edit("data:\n  val", "data:\n  calibration: {path: calibration.npz}\n  val")
    found = tuned(project)
    assert [trial["state"] for trial in found["trials"]] == ["passed", "refused", "passed"]
    (problem,) = found["trials"][1]["problems"]
    assert (problem["code"], problem["message"]) == ("MS319", "'percentile' has no effect: ranges are found otherwise")
    assert found["trials"][2]["changes"]["quantize.int8"]["ranges"] == "percentile"


@pytest.mark.slow
def test_where_nothing_passes_the_closest_is_named(make_tiny: MakeTiny) -> None:
    project = make_tiny(GRID, outlier=True)
    before = project.spec.read_bytes()
    done = project.run("tune", "--write")
    assert done.returncode == 1
    assert "error[MS523]: none of 5 builds passes the gates; the closest is trial" in done.stderr
    assert "accuracy is 0." in done.stderr
    assert "worse than the source's 1.0000" in done.stderr
    assert "Traceback" not in done.stderr
    assert project.spec.read_bytes() == before
    assert tuned(project, exits=1)["best"] is None


@pytest.mark.slow
def test_an_interrupted_search_goes_on_where_it_was(make_tiny: MakeTiny) -> None:
    project = make_tiny(GRID)
    command = [sys.executable, "-m", "modelspec", "tune", "--cache-dir", str(project.cache)]
    process = subprocess.Popen(command, cwd=project.folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("trial 2"):
            break
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "the same command goes on from here" in said
    assert "Traceback" not in said
    assert out == ""
    found = tuned(project)
    assert found["trials"][0]["ran"] == found["trials"][1]["ran"] == 0
    assert found["ran"] > 0


@pytest.mark.slow
def test_a_spec_that_changed_meanwhile_is_not_overwritten(make_tiny: MakeTiny) -> None:
    project = make_tiny("tune: {data: validation, search: {quantize.int8.per_channel: [false]}, sampler: grid}\n")
    found = tune(Asked(project.spec, project.cache), Listener())
    assert found.is_changed
    project.edit("# agreed with the users", "# agreed with others")
    with pytest.raises(ModelspecError, match=r"MS601 model\.yaml changed during the search"):
        write(found)
    project.edit("# agreed with others", "# agreed with the users")
    project.spec.chmod(0o640)
    write(found)
    assert (project.spec.read_bytes(), project.spec.stat().st_mode & 0o777) == (found.best and found.best.text, 0o640)
    assert not list(project.folder.glob(".*"))


@pytest.mark.slow
def test_latency_is_measured_by_the_benchmark_and_only_where_it_is_asked_for(make_tiny: MakeTiny) -> None:
    project = make_tiny(
        "benchmark: {seconds: 0.1}\ntune: {data: validation, search: {convert.opset: [17]}, sampler: grid}\n"
    )
    assert "latency_p50" not in tuned(project)["trials"][1]["metrics"]
    project.edit("tune: {", "tune: {objective: latency_p50, ")
    found = tuned(project)
    assert found["trials"][1]["metrics"]["latency_p50"] > 0
    assert tuned(project)["ran"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["y", "n"])
def test_a_terminal_is_asked(answer: str, make_tiny: MakeTiny) -> None:
    project = make_tiny("tune: {data: validation, search: {quantize.int8.per_channel: [false]}, sampler: grid}\n")
    before = project.spec.read_text()
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "modelspec", "tune", "--cache-dir", str(project.cache)]
    process = subprocess.Popen(command, cwd=project.folder, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while b"Write this to model.yaml? [y/N]" not in shown:
        assert select.select([ours], [], [], 120)[0], shown
        shown += os.read(ours, 4096)
    assert b"+    per_channel: false" in shown
    os.write(ours, f"{answer}\n".encode())
    with suppress(OSError):  # so ends a terminal that no one is at any more
        while os.read(ours, 4096):
            pass
    os.close(ours)
    assert process.wait(60) == 0
    assert (project.spec.read_text() != before) == (answer == "y")


@pytest.mark.parametrize(
    ("block", "arguments", "message"),
    [
        ("", [], "model.yaml has no block 'tune'"),
        ("tune: {data: validation}\n", [], "there is nothing to search"),
        ("tune: {data: validation}\n", ["--exclude-nodes"], "cpu-fp32 is not quantized"),
    ],
)
def test_what_there_is_no_search_without(
    block: str, arguments: list[str], message: str, make_tiny: MakeTiny, tmp_path: Path
) -> None:
    project = make_tiny(block)
    text = project.spec.read_text()
    if not block:
        text = text.replace("  validation: {path: validation.npz, labels: y}\n", "")
    if arguments:
        text = text.replace("quantize:\n  int8:\n    method: dynamic      # as the documentation says\n", "")
        text = text.replace("precision: int8", "precision: fp32")
    project.spec.write_text(text)
    done = project.run("tune", *arguments)
    assert done.returncode == 2
    assert f"error[MS325]: {message}" in done.stderr.replace("--exclude-nodes: ", "")
