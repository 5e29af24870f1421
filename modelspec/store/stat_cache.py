"""Remembers the digests of files that have not been touched since they were hashed."""

import json
import os
import time
from pathlib import Path

from modelspec import digest
from modelspec.store.files import make_folder

_RACY_NS = 2_000_000_000
"""A file changed this shortly before it was hashed may change again within one tick of its clock."""

Identity = tuple[int, int, int, int, int]


def identity(path: Path) -> Identity:
    """What changes whenever the bytes do: device, inode, size, and the two times the kernel keeps."""
    stat = path.stat()
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


class StatCache:
    """Digests by path and identity, in one small JSON file. Losing it costs time, never correctness."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._changed = False
        self._entries: dict[str, tuple[Identity, str]] = {}
        try:
            stored = json.loads(file.read_bytes())
            self._entries = {path: (tuple(entry[0]), entry[1]) for path, entry in stored.items()}
        except (OSError, ValueError, AttributeError, TypeError, IndexError, KeyError):
            pass

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
        if not self._changed:
            return
        try:
            make_folder(self._file.parent)
            draft = self._file.with_name(f".{self._file.name}.{os.getpid()}")
            draft.write_text(json.dumps(self._entries))
            draft.replace(self._file)
        except OSError:
            pass
