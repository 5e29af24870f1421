"""What must hold before a server is ready, and what it loads."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from modelspec.formats import packed
from tests.runtime.conftest import ROOT, Start, line, linear
from tests.test_readme import block


def test_answers_in_16_bits_may_be_those_of_another_device(folder: Path, start: Start) -> None:
    golden, runtime = folder / "golden" / "outputs.npz", folder / "runtime.json"
    right = np.load(golden)["y"]
    np.savez(golden, y=right + 0.01 * np.abs(right).max())
    assert start(folder, ready=False).process.wait(20) == 5
    runtime.write_text(json.dumps({**json.loads(runtime.read_text()), "precision": "fp16"}))
    start(folder).stop()


def test_ready_only_with_the_golden_outputs(folder: Path, start: Start) -> None:
    golden = folder / "golden" / "outputs.npz"
    right = np.load(golden)["y"]
    np.savez(golden, y=right + 1e-5)
    start(folder).stop()
    np.savez(golden, y=right + 0.01)
    server = start(folder, ready=False)
    assert server.process.wait(20) == 5
    assert "differs by up to 0.01" in server.wait_for("failed")["reason"]
    assert not [line for line in server.log if line["event"] == "ready"]


@pytest.mark.parametrize(
    ("file", "content", "status"),
    [
        ("model.onnx", b"nonsense", 3),
        ("signature.json", b"{}", 5),
        ("runtime.json", b"[" * 5000, 5),
        ("runtime.json", b'{"formatVersion": 2, "runtime": "onnxruntime"}', 2),
        ("golden/inputs.npz", b"PK", 5),
        ("runtime.json", b'{"formatVersion": 1, "runtime": "onnxruntime", "file": "../model.onnx"}', 2),
    ],
)
def test_damaged_folders(folder: Path, start: Start, file: str, content: bytes, status: int) -> None:
    (folder / file).write_bytes(content)
    server = start(folder, ready=False)
    assert server.process.wait(20) == status
    assert server.wait_for("failed")["level"] == "error"


def test_links_and_unknown_session_options_are_refused(folder: Path, start: Start) -> None:
    runtime = json.loads((folder / "runtime.json").read_text())
    runtime["session"]["new"] = 1
    (folder / "runtime.json").write_text(json.dumps(runtime))
    assert start(folder, ready=False).process.wait(20) == 2
    (folder / "model.onnx.data").symlink_to("/etc/hostname")
    assert start(folder, ready=False).process.wait(20) == 6


def test_external_data_outside_is_refused(folder: Path, start: Start) -> None:
    import onnx

    linear(folder / "model.onnx")
    model = onnx.load(folder / "model.onnx")
    (folder.parent / "outside.bin").write_bytes(np.full(1, 2, np.float32).tobytes())
    weight = model.graph.initializer[0]
    weight.ClearField("float_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "../outside.bin"
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    assert start(folder, ready=False).process.wait(20) == 3
    (folder / "inside.bin").write_bytes((folder.parent / "outside.bin").read_bytes())
    entry.value = "inside.bin"
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    start(folder)


@pytest.mark.parametrize(("compression", "level"), [("gzip", 9), ("xz", 6), ("zstd", 3)])
def test_compressed_files(folder: Path, start: Start, compression: Literal["gzip", "xz", "zstd"], level: int) -> None:
    """As the stage `package` writes them: unpacked for the load, refused when they hold anything else."""
    plain = folder.parent / "plain"
    plain.mkdir()
    (folder / "model.onnx").rename(plain / "model.onnx")
    said = packed.pack(plain, folder, compression, level)
    write_runtime(folder, package=said.model_dump(mode="json"))
    start(folder).stop()
    file = folder / said.files[0].packed
    whole = file.read_bytes()
    for wrong in (whole[:-9], b"", whole[:30] + b"xxxx" + whole[34:]):
        file.write_bytes(wrong)
        assert start(folder, ready=False).process.wait(20) == 5
    file.write_bytes(whole)
    for change in (
        {"size": 10},
        {"size": 1 << 40},
        {"sha256": "0" * 64},
        {"path": "../model.onnx"},
        {"packed": "/etc/passwd"},
    ):
        write_runtime(folder, package={"compression": compression, "files": [said.files[0].model_dump() | change]})
        assert start(folder, ready=False).process.wait(20) in {2, 5}


def write_runtime(folder: Path, **changes: object) -> None:
    """Change runtime.json."""
    runtime = json.loads((folder / "runtime.json").read_text())
    (folder / "runtime.json").write_text(json.dumps(runtime | changes))


def test_no_golden_files_no_server(folder: Path, start: Start) -> None:
    np.savez(folder / "golden" / "outputs.npz")
    assert start(folder, ready=False).process.wait(20) == 5


def test_stands_alone(folder: Path) -> None:
    """Nothing of modelspec but itself, and none of the libraries of the build (uvicorn itself brings click)."""
    code = (
        "import sys; import modelspec.runtime.server;"
        "own = [m for m in sys.modules if m.startswith('modelspec') and not m.startswith('modelspec.runtime')];"
        "print(own, sorted({'pydantic', 'yaml', 'jinja2', 'rich', 'torch', 'onnx'} & set(sys.modules)))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout == "['modelspec'] []\n"


def test_the_commands_of_the_readme(tmp_path: Path) -> None:
    """In the folder of a build, as they stand, but for the port and for who ends the server."""
    place = tmp_path / "dist" / "digits" / "1.0.0" / "cpu-int8"
    place.parent.mkdir(parents=True)
    line(tmp_path / "made").rename(place)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    start, document, ask = block("serve").replace("8080", str(port)).splitlines()
    script = f"""
        {start.removesuffix("&")} --port {port} --drain-delay 0 2> server.log & server=$!
        trap 'kill $server; wait $server' EXIT
        for _ in $(seq 200); do grep -q '"ready"' server.log && break; sleep 0.1; done
        {document} > openapi.json
        python -c "$EXAMPLE" < openapi.json > request.json
        {ask}
    """
    example = (
        "import json, sys; content = next(p['post'] for p in json.load(sys.stdin)['paths'].values() if 'post' in p)"
    )
    example += "['requestBody']['content']['application/json']; print(json.dumps(content.get('example') or next(iter(content['examples'].values()))['value']))"  # fmt: skip
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, "EXAMPLE": example}
    done = subprocess.run(["bash", "-euc", script], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["outputs"][0]["data"] == [1.0, 3.0, 5.0, 7.0, 9.0, 11.0]


def test_command(folder: Path) -> None:
    """`modelspec serve` finds the target, and gives its options on; a module in the current folder is none of its own."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    (folder.parents[1] / "uvicorn.py").write_text("raise SystemExit(99)")

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-P", "-m", "modelspec", "serve", *words]
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=30, cwd=folder.parents[1])

    version = str(folder.parent)
    (folder / "golden" / "outputs.npz").unlink()  # it ends by itself
    for words in ([str(folder)], [version], [version, "-t", "cpu-fp32", "--queue", "3", "--port", "0", "--allow-nan"]):
        done = run(*words, "--name", "other")
        assert (done.returncode, "is not as a build left it" in done.stderr) == (5, True), done.stderr
    assert "MS308" in run(version, "-t", "gpu").stderr
    assert run(version, "-t", "gpu").returncode == 2
    assert "MS325" in run(str(folder.parents[1])).stderr
    assert run(str(folder), "--queue", "-1").returncode == 2


def test_the_makers_of_onnx_runtime_are_told_nothing(
    folder: Path, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(home))
    for name in ("CI", "GITHUB_ACTIONS", "ORT_DISABLE_TELEMETRY"):  # any of them switches it off too
        monkeypatch.delenv(name, raising=False)
    start(folder).stop()
    assert not list(home.iterdir())  # where it keeps the name of this machine, and what it has yet to send
