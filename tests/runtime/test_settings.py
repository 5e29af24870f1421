"""Settings: of the command line, else of the published file, else the defaults."""

import json
from pathlib import Path

import pytest

from modelspec.runtime.settings import Settings, options, parse
from tests.runtime.conftest import Start, request


def write(folder: Path, serve: object) -> None:
    """As the build does."""
    runtime = json.loads((folder / "runtime.json").read_text())
    (folder / "runtime.json").write_text(json.dumps(runtime | {"serve": serve}))


def test_the_command_line_wins(folder: Path) -> None:
    write(folder, {"port": 81, "queue": 5, "batch_delay": 1})
    found = parse([str(folder), "--queue", "6", "--allow-nan"])
    assert (found.port, found.queue, found.batch_delay, found.allow_nan) == (81, 6, 1, True)
    assert found.max_body == Settings(folder).max_body


@pytest.mark.parametrize("serve", [{"port": -1}, {"port": "81"}, {"new": 1}, {"queue": True}, {"batch_delay": 11}, [1]])
def test_wrong_settings_in_the_file(folder: Path, serve: object, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, serve)
    with pytest.raises(SystemExit, match="2"):
        parse([str(folder)])
    assert "in runtime.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--port=70000"], ["--queue=-1"], ["--header-timeout=nan"], ["--port=x"], ["--new"], ["--por=1"]]
)
def test_wrong_command_lines(folder: Path, words: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse([str(folder), *words])


def test_every_setting_has_a_help_and_a_right_default(folder: Path) -> None:
    for option in options():
        assert option.help.endswith(".")
        assert not option.wrong(option.default)


def test_a_server_configured_by_the_build(folder: Path, start: Start) -> None:
    write(folder, {"batch_size": 8, "batch_delay": 0.001, "max_body": 500})
    server = start(folder)
    assert server.ask("POST", "/v2/models/line/infer", request([[1, 2, 3]]))[0] == 200
    assert server.ask("POST", "/v2/models/line/infer", b" " * 501)[0] == 413
    assert b"modelspec_batch_requests_sum 1.0" in server.ask("GET", "/metrics")[1]


def test_a_model_that_cannot_be_joined(folder: Path, start: Start) -> None:
    signature = json.loads((folder / "signature.json").read_text())
    signature["outputs"][0]["shape"] = ["other", 3]
    (folder / "signature.json").write_text(json.dumps(signature))
    assert start(folder, "--batch-size=4", ready=False).process.wait(20) == 2
