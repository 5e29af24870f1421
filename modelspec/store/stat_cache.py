"""Remembers the digests of files that have not been touched since they were hashed."""

import json
import time
from contextlib import suppress
from pathlib import Path

from modelspec import digest
from modelspec.store.files import make_folder, open_plain

_RACY_NS = 2_000_000_000
"""A file changed this shortly before it was hashed may change again within one tick of its clock."""

Identity = tuple[int, int, int, int, int]


def identity(path: Path) -> Identity:
    """What changes whenever the bytes do: device, inode, size, and the two times the kernel keeps."""
    stat = path.stat()
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


class StatCache:
    """Digests by path and identity, in one small JSON file that ends with its own digest.

    Losing it costs time, never correctness; a rotten one would have every build fail over a file that did not change.
    """

    def __init__(self, file: Path | None) -> None:
        """`file` is None for one that remembers nothing."""
        self._file = file
        self._changed = False
        self._entries: dict[str, tuple[Identity, str]] = {}
        if file is None:
            return
        with suppress(OSError, ValueError, AttributeError, TypeError, IndexError, KeyError), open_plain(file) as opened:
            body, _, rest = opened.read().partition(b"\n")
            if digest.of_bytes(body).encode() == rest:
                stored = json.loads(body)
                self._entries = {path: (tuple(entry[0]), entry[1]) for path, entry in stored.items()}

    def of_file(self, path: Path) -> tuple[str, int]:
        """The file's SHA-256 and size."""
        now = identity(path)
        entry = self._entries.get(str(path))
        if entry and entry[0] == now:
            return entry[1], now[2]
        sha256 = digest.of_file(path)
        if identity(path) == now and time.time_ns() - max(now[3], now[4]) > _RACY_NS:
            self._entries[str(path)] = (now, sha256)
            self._changed = True
        return sha256, now[2]

    def save(self) -> None:
        """Write what was learnt; a cache that cannot be written is done without."""
        if not self._changed or self._file is None:
            return
        body = json.dumps(self._entries).encode()
        # One name for all: what a killed process left is overwritten. Two at once can spoil the file; the digest tells.
        draft = self._file.with_name(f".{self._file.name}.draft")
        with suppress(OSError):
            make_folder(self._file.parent)
            try:
                draft.write_bytes(body + b"\n" + digest.of_bytes(body).encode())
                draft.replace(self._file)
            except OSError:
                draft.unlink(missing_ok=True)
