"""Which records a project relies on: kept beside the cache, so that pruning spares what cannot be made again."""

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from modelspec.store.files import write_durably
from modelspec.store.store import Store


def keep_root(store: Store, spec: str, lock: Path, keys: Iterable[str]) -> None:
    """Note the `recorded` results that `lock` pins; an earlier note of the same spec is replaced."""
    wanted = sorted(keys)
    path = store.root / "roots" / f"{spec}.json"
    if not wanted and not path.exists():
        return
    value = json.dumps({"lock": str(lock.absolute()), "keys": wanted})
    with suppress(OSError):
        write_durably(path, value.encode(), store.open_session())


def rooted(store: Store) -> set[str]:
    """The keys of all notes whose model.lock is still there."""
    keys: set[str] = set()
    for path in (store.root / "roots").glob("*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            value = json.loads(path.read_bytes())
            if Path(value["lock"]).is_file():
                keys |= set(value["keys"])
    return keys
