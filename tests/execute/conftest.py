"""Projects whose loader does what a test wants of it."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.build.conftest import Project, make_project, project

__all__ = ["make_project", "project"]

WithLoader = Callable[[str], Project]


def put_loader(project: Project, body: str, dataset: str = "test", file: str = "data") -> Project:
    """A loader of that body instead of the data set's file."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    (project.folder / f"{file}.py").write_text(f"import os, signal, sys, time\n\ndef load():\n{lines}")
    labels = ", labels: y" if dataset == "test" else ""
    project.edit(f"{dataset}: {{path: {dataset}.npz{labels}}}", f'{dataset}: {{loader: "{file}.py:load"{labels}}}')
    return project


def returning(project: Project, dataset: str = "test") -> str:
    """The end of a body that returns what the data set's file holds."""
    return f"import numpy\nreturn dict(numpy.load({str(project.folder / f'{dataset}.npz')!r}))"


@pytest.fixture
def with_loader(project: Project) -> WithLoader:
    """The project with a loader of that body instead of the test set's file."""
    return lambda body: put_loader(project, body)


def log_of(said: str, action: str = "load:test") -> str:
    """The logs that the output of a failed build names for actions whose label begins so."""
    return "".join(Path(path).read_text() for path in re.findall(rf"^log of {action}.*?: (/.*)$", said, re.MULTILINE))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def ended(pid: int, deadline_s: float = 30.0) -> bool:
    """Whether a process ends in time."""
    end = time.monotonic() + deadline_s
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not is_alive(pid)
