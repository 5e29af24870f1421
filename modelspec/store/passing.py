"""A store for one build, above a cache that cannot be written."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir, mkdtemp

from modelspec.errors import ModelspecError
from modelspec.store.files import cache_errors, remove_tree
from modelspec.store.locks import FileLock
from modelspec.store.store import Store

_PREFIX = "modelspec-cache-"
_SETTLING_S = 60.0
"""Time for a folder that was just made to be locked by its maker."""


@contextmanager
def passing_store(below: Store) -> Iterator[Store]:
    """A store in the temporary folder, removed afterwards; of a build that failed, the logs stay: messages name them."""
    with cache_errors("preparing a temporary cache"):
        _sweep(Path(gettempdir()))
        folder = Path(mkdtemp(prefix=_PREFIX))
        lock = FileLock(folder)
        lock.try_acquire()
    failed = False
    try:
        yield Store(folder, below)
    except ModelspecError:
        failed = True
        raise
    finally:
        _clear(folder, keep_logs=failed)
        lock.release()


def _sweep(temporary: Path) -> None:
    """Remove what builds that were killed left behind, but not the logs of those that failed."""
    for folder in temporary.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            status = folder.lstat()
            if status.st_uid == os.getuid() and time.time() - status.st_mtime > _SETTLING_S:
                lock = FileLock(folder)
                if lock.try_acquire():
                    _clear(folder, keep_logs=True)
                    lock.release()


def _clear(folder: Path, *, keep_logs: bool) -> None:
    store = Store(folder)
    for path in store.root.glob("*") if keep_logs else [folder]:
        if path.is_file():
            with suppress(OSError):
                path.unlink()
        elif path != store.log("").parent:
            remove_tree(path)
