"""The same project gives the same bytes wherever, whenever and by whomever it is built."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.build.conftest import MakeProject, Project

VARIED = {
    "PYTHONHASHSEED": "77",
    "TZ": "Asia/Kathmandu",
    "LC_ALL": "C",
    "LANG": "C",
    "OMP_NUM_THREADS": "2",
    "USER": "somebody",
    "LOGNAME": "somebody",
}


def test_another_folder_seed_zone_locale_umask_home_and_core_count(make_project: MakeProject, tmp_path: Path) -> None:
    first = make_project("here", "cache-1")
    first.build()
    second = make_project("elsewhere/with a space", "cache-2")
    home = tmp_path / "home"
    home.mkdir()
    previous = os.umask(0o077)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        second.build("-j", "1", env={**VARIED, "HOME": str(home)})
    finally:
        os.umask(previous)
        os.sched_setaffinity(0, cores)
    ours, theirs = first.tree(), second.tree()
    assert ours["checksums.txt"] == theirs["checksums.txt"]
    assert {path for path in ours if ours[path] != theirs[path]} <= {"build.json"}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can build as somebody else")
def test_another_user(make_project: MakeProject, tmp_path: Path) -> None:
    first = make_project("here", "cache-1")
    first.build()
    second = make_project("there", "cache-2")
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, 65534, 65534)
    # The interpreter may lie where only root can read: let the other user read, and nothing else.
    reading = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *reading]
    command = [*user, sys.executable, "-m", "modelspec", "build"]
    environment = {**os.environ, "MODELSPEC_CACHE_DIR": str(tmp_path / "cache-nobody")}
    done = subprocess.run(command, cwd=second.folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (second.dist / "build.json").stat().st_uid == 65534
    assert first.tree()["checksums.txt"] == second.tree()["checksums.txt"]


def test_no_path_host_user_or_time_is_inside_any_artifact(project: Project) -> None:
    project.build()
    secrets = [str(project.folder), str(project.cache), os.uname().nodename, sys.prefix, str(Path.home() / ".")]
    for path, data in project.tree().items():
        for secret in secrets:
            if len(secret) > 4:
                assert secret.encode() not in data, f"{secret} is in {path}"


def test_modes_do_not_follow_the_umask(project: Project) -> None:
    previous = os.umask(0o077)
    try:
        project.build()
    finally:
        os.umask(previous)
    assert {p.stat().st_mode & 0o777 for p in project.dist.rglob("*") if p.is_file()} == {0o644}
    assert {p.stat().st_mode & 0o777 for p in project.dist.rglob("*") if p.is_dir()} == {0o755}
