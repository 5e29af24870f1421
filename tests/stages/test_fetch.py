"""Downloads from a real server on loopback that does what servers do wrong."""

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelspec import digest
from modelspec.errors import ModelspecError
from modelspec.stages import _fetch_download
from modelspec.stages._fetch_download import download
from tests.build.server import Server, serving

DATA = random.Random(0).randbytes(3_000_000)
SHA256 = digest.of_bytes(DATA)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses that are no account of the test."""
    monkeypatch.setattr(_fetch_download, "PAUSES_S", (0.01, 0.01, 0.01))
    monkeypatch.setattr(_fetch_download, "STALL_S", 1.0)


def fetched(uri: str, path: Path, sha256: str = SHA256) -> bytes:
    download(uri, sha256, path)
    return path.read_bytes()


def refused(uri: str, path: Path, sha256: str = SHA256) -> tuple[str, str]:
    with pytest.raises(ModelspecError) as caught:
        download(uri, sha256, path)
    (problem,) = caught.value.diagnostics
    return problem.code, problem.message


def test_a_cut_connection_is_taken_up_where_it_ended(server: Server, tmp_path: Path) -> None:
    uri = server.put("file", DATA, cut_after=[1_000_000, 500_000])
    assert fetched(uri, tmp_path / "part") == DATA
    assert [part for _, part in server.asked] == ["", "bytes=1000000-", "bytes=1500000-"]
    assert server.sent == len(DATA)


def test_many_cuts_do_not_matter_while_it_comes_on(server: Server, tmp_path: Path) -> None:
    data = DATA * 6
    uri = server.put("file", data, cut_after=[1_500_000] * 11)
    assert fetched(uri, tmp_path / "part", digest.of_bytes(data)) == data


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    uri = server.put("file", DATA, cut_after=[1_000_000], ranges=False)
    assert fetched(uri, tmp_path / "part") == DATA


def test_a_server_that_starts_over_and_is_cut_each_time_is_given_up(server: Server, tmp_path: Path) -> None:
    uri = server.put("file", DATA, cut_after=[2_000_000] * 99, ranges=False)
    assert refused(uri, tmp_path / "part")[0] == "MS641"
    assert len(server.asked) < 10


def test_a_file_that_changed_meanwhile_is_not_pieced_together(server: Server, tmp_path: Path) -> None:
    old = bytes(2_000_000)
    uri = server.put("file", old, cut_after=[1_000_000, 0, 0, 0], tag='"old"')
    assert refused(uri, tmp_path / "part")[0] == "MS641"
    server.put("file", DATA, tag='"new"')
    assert fetched(uri, tmp_path / "part") == DATA
    assert server.asked[-1][1] == "bytes=1000000-"  # with If-Range: the answer is the whole


def test_parts_of_two_versions_are_noticed_by_the_digest(server: Server, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(bytes(1000))
    assert fetched(server.put("file", DATA), tmp_path / "part") == DATA
    assert [part for _, part in server.asked] == ["bytes=1000-", ""]


def test_another_part_than_asked_for_is_not_taken(server: Server, tmp_path: Path) -> None:
    uri = server.put("file", DATA, cut_after=[1_000_000], shifted=True)
    assert fetched(uri, tmp_path / "part") == DATA


def test_more_than_there_is_starts_over(server: Server, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(bytes(len(DATA)))
    assert fetched(server.put("file", DATA), tmp_path / "part") == DATA


def test_what_is_whole_already_is_not_asked_for(server: Server, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(DATA)
    assert fetched(server.put("file", DATA), tmp_path / "part") == DATA
    assert not server.asked


def test_an_empty_file_has_to_be_there_too(server: Server, tmp_path: Path) -> None:
    empty = digest.of_bytes(b"")
    assert refused(f"{server.base}/file", tmp_path / "part", empty)[0] == "MS641"
    assert fetched(server.put("file", b""), tmp_path / "part", empty) == b""


def test_a_server_that_is_busy_for_a_moment_is_asked_again(server: Server, tmp_path: Path) -> None:
    assert fetched(server.put("file", DATA, failures=[503, 429]), tmp_path / "part") == DATA
    assert len(server.asked) == 3


def test_a_server_that_stays_busy_is_given_up(server: Server, tmp_path: Path) -> None:
    code, message = refused(server.put("file", DATA, failures=[503] * 99), tmp_path / "part")
    assert code == "MS641"
    assert "503" in message
    assert len(server.asked) == 4


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_plain_no_is_not_asked_again(server: Server, tmp_path: Path, status: int) -> None:
    code, message = refused(server.put("file", DATA, failures=[status]), tmp_path / "part")
    assert code == "MS641"
    assert str(status) in message
    assert len(server.asked) == 1


def test_a_server_that_says_nothing_is_not_waited_for(server: Server, tmp_path: Path) -> None:
    code, message = refused(server.put("file", DATA, silent_s=30.0), tmp_path / "part")
    assert code == "MS641"
    assert "timed out" in message


def test_no_server_at_all(server: Server, tmp_path: Path) -> None:
    code, message = refused("http://127.0.0.1:1/file", tmp_path / "part")
    assert code == "MS641"
    assert "refused" in message


def test_a_redirection_is_followed(server: Server, tmp_path: Path) -> None:
    uri = server.put("old", b"", redirect=server.put("file", DATA))
    assert fetched(uri, tmp_path / "part") == DATA


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/file", "data:text/plain,hello"])
def test_a_redirection_to_elsewhere_than_the_web_is_not(server: Server, tmp_path: Path, target: str) -> None:
    code, message = refused(server.put("old", b"", redirect=target), tmp_path / "part")
    assert code == "MS641"
    assert "redirection" in message.lower()


def test_a_loop_of_redirections_ends(server: Server, tmp_path: Path) -> None:
    uri = server.put("loop", b"", redirect=f"{server.base}/loop")
    assert refused(uri, tmp_path / "part")[0] == "MS641"


def test_other_bytes_are_refused_and_dropped(server: Server, tmp_path: Path) -> None:
    code, message = refused(server.put("file", b"others"), tmp_path / "part")
    assert code == "MS640"
    assert digest.of_bytes(b"others") in message
    assert SHA256 in message
    assert not list(tmp_path.iterdir())


def test_a_query_that_may_hold_a_key_is_not_shown(server: Server, tmp_path: Path) -> None:
    assert "hidden" not in refused(f"{server.base}/file?signature=hidden", tmp_path / "part")[1]


def test_a_folder_and_a_pipe_are_not_files(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ""):
        assert refused((tmp_path / name).as_uri(), tmp_path / "part")[0] == "MS641"


def test_a_scheme_that_nobody_knows(tmp_path: Path) -> None:
    code, message = refused("nonsense://host/file", tmp_path / "part")
    assert code == "MS641"
    assert "nonsense" in message


def test_fsspec_resumes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    (tmp_path / "part").write_bytes(DATA[:1_000_000])
    assert fetched(f"local://{tmp_path}/file", tmp_path / "part") == DATA


def test_a_link_in_place_of_the_part_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "part").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError):  # noqa: PT011
        download((tmp_path / "file").as_uri(), SHA256, tmp_path / "part")
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_memory_stays_flat(server: Server, tmp_path: Path) -> None:
    """64 MB, and half of them again after a cut, by a process that has less than that to grow by."""
    data = bytes(64_000_000)
    uri = server.put("file", data, cut_after=[32_000_000])
    program = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from modelspec.stages._fetch_download import download\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "download(sys.argv[1], sys.argv[2], Path(sys.argv[3]))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, uri, digest.of_bytes(data), str(tmp_path / "part")],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) < 16_000  # kilobytes
    assert (tmp_path / "part").stat().st_size == len(data)
