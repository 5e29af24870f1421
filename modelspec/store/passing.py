"""A store for one build, above a cache that cannot be written."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from modelspec.errors import ModelspecError
from modelspec.store.files import cache_errors
from modelspec.store.store import Store


@contextmanager
def passing_store(below: Store) -> Iterator[Store]:
    """A store in the temporary folder, removed afterwards; of a build that failed, the logs stay: messages name them."""
    with cache_errors("preparing a temporary cache"):
        folder = Path(mkdtemp(prefix="modelspec-"))
    store = Store(folder, below)
    failed = False
    try:
        yield store
    except ModelspecError:
        failed = True
        raise
    finally:
        for path in store.root.glob("*") if failed else [folder]:
            if path.is_file():
                path.unlink()
            elif path != store.log("").parent:
                shutil.rmtree(path, ignore_errors=True)
