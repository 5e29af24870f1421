"""Layers: the same bytes whatever the machine, and nothing in them but folders and plain files of root."""

import os
import tarfile
from pathlib import Path

import pytest

from modelspec import digest
from modelspec.errors import ModelspecError
from modelspec.oci import layer
from modelspec.oci.layer import Content


def write(contents: dict[str, Content], path: Path, epoch: int = 0) -> tuple[str, list[tarfile.TarInfo]]:
    made = layer.write(contents, path, epoch)
    assert made.digest == f"sha256:{digest.of_file(path)}"
    assert made.size == path.stat().st_size
    with tarfile.open(path) as tar:
        return made.digest, tar.getmembers()


def test_entries_are_sorted_with_their_folders_and_belong_to_root(tmp_path: Path) -> None:
    _, members = write({"b/c/two": Content(b"2"), "a": Content(b"1", executable=True)}, tmp_path / "tar", 7)
    assert [m.name for m in members] == ["a", "b", "b/c", "b/c/two"]
    assert [oct(m.mode) for m in members] == ["0o755", "0o755", "0o755", "0o644"]
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 7)}
    assert [m.isdir() for m in members] == [False, True, True, False]


def test_times_modes_and_umask_of_the_machine_do_not_count(tmp_path: Path) -> None:
    found = set()
    for mask, mode, time in ((0o022, 0o644, 0), (0o077, 0o600, 10**9)):
        before = os.umask(mask)
        try:
            source = tmp_path / f"source{mask}"
            source.write_bytes(b"x" * 3_000_000)
            source.chmod(mode)
            os.utime(source, (time, time))
            found.add(write({"models/m/model.onnx": Content(source)}, tmp_path / f"tar{mask}")[0])
        finally:
            os.umask(before)
    assert len(found) == 1


def test_the_bytes_are_those_of_every_version(tmp_path: Path) -> None:
    made, _ = write({"models/größe/a": Content(b"1"), "opt/x": Content(b"")}, tmp_path / "tar")
    assert made == "sha256:5227b90f927e653b06c6c893860197ec1001c8e6c8f059f578bb3613a4c4a871"


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a\nb", "a\x1bb", "a/."])
def test_an_odd_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelspecError, match="MS540"):
        layer.write({name: Content(b"")}, tmp_path / "tar")


def test_a_file_that_is_also_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelspecError, match="MS540"):
        layer.write({"a": Content(b""), "a/b": Content(b"")}, tmp_path / "tar")
