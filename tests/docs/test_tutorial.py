"""The tutorial and the pages of the examples, word for word: their files are written, their commands are run, in order."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.reference import DOCS
from tests.oci import bases, services

EXAMPLES = DOCS.parent / "examples"
COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STEP = re.compile(
    r"^<!-- (?P<kind>run|engine|file|append)(: (?P<name>\S+))? -->\n```\w*\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Follower:
    """Someone who does what the tutorial says, in a folder, on a port that is free."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder, self.port = folder, str(services.free_port())
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        cache = str(folder / "cache")
        self.environment = {**os.environ, "PATH": path, "MODELSPEC_CACHE_DIR": cache, **environment}
        self.said: dict[str, str] = {}
        self.last = ""

    def do(self, kind: str, name: str | None, text: str) -> None:
        """One step. What is not to be had in a test has another in its place: the port, and the base image."""
        text = text.replace("8080", self.port).replace("modelspec serve", f"modelspec serve --port {self.port}")
        if name:
            served = f"{{base: 'oci:base'}}\nserve: {{port: {self.port}}}"
            with (self.folder / name).open("a" if kind == "append" else "w") as file:
                file.write(text.replace("containerize: {}", f"containerize: {served}"))
            return
        script = text.replace(f"-p {self.port}:{self.port}", "--network host")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        self.said[text] = self.last = done.stdout + done.stderr


def steps(*kinds: str) -> Iterator[tuple[str, str | None, str]]:
    """The steps of some kinds, in their order."""
    for step in STEP.finditer((DOCS / "tutorial.md").read_text()):
        if step["kind"] in kinds:
            yield step["kind"], step["name"], step["text"]


def test_the_tutorial_works_as_it_is_written(tmp_path: Path) -> None:
    follower = Follower(tmp_path)
    for step in steps("run", "file"):
        follower.do(*step)
    assert "nothing to do" in follower.said["modelspec build\n"]
    assert (tmp_path / "dist/digits/1.0.0/checksums.txt").exists()


@pytest.mark.slow
def test_it_ends_with_a_container_that_answers(tmp_path: Path, engine: str, base_tar: Path) -> None:
    follower = Follower(tmp_path, DOCKER_HOST=engine)
    bases.write(tmp_path / "base", tar=base_tar)
    (train,) = [text for kind, _, text in steps("run") if "train.py" in text]
    for step in [*steps("file"), ("run", None, train), *steps("append", "engine")]:
        follower.do(*step)
    (last,) = [text for text in follower.said.values() if "Loaded image" in text]
    assert '"name":"digits"' in last


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.parent.name for path in EXAMPLES.glob("*/model.yaml")))
def test_the_page_of_an_example_works_as_it_is_written(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    shutil.copytree(EXAMPLES / name, folder, ignore=shutil.ignore_patterns("dist", "__pycache__"))
    follower = Follower(folder)
    scripts = COMMANDS.findall((folder / "README.md").read_text())
    assert scripts[0].startswith("modelspec build\n")
    for script in scripts:
        follower.do("run", None, script)
    assert name in follower.last
