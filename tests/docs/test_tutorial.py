"""The tutorial, word for word: its files are written, its commands are run, in its order."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

from tests.docs.reference import DOCS

STEP = re.compile(r"^<!-- (?P<kind>run|file: (?P<name>\S+)) -->\n```\w*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
PORT = "8080"


def test_the_tutorial_works_as_it_is_written(tmp_path: Path) -> None:
    steps = list(STEP.finditer((DOCS / "tutorial.md").read_text()))
    assert {step["name"] for step in steps} >= {"train.py", "model.yaml"}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "MODELSPEC_CACHE_DIR": str(tmp_path / "cache"), "PATH": path}
    said: dict[str, str] = {}
    for step in steps:
        if step["name"]:
            (tmp_path / step["name"]).write_text(step["text"])
            continue
        # Another test may have the usual port.
        script = step["text"].replace("modelspec serve", f"modelspec serve --port {port}").replace(PORT, port)
        done = subprocess.run(
            ["bash", "-euc", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        said[step["text"]] = done.stdout + done.stderr
    assert "nothing to do" in said["modelspec build\n"]
    assert (tmp_path / "dist/digits/1.0.0/checksums.txt").exists()
