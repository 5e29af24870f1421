"""Puts a finished build under its final name in one step; an interrupted or failed one changes nothing there."""

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modelspec import digest
from modelspec.errors import ModelspecError, fail
from modelspec.lock import Lock, as_text, path_of
from modelspec.publication import BUILD, CARD, CHECKSUMS, Publication, fill, identity, published
from modelspec.spec.model import ModelSpec
from modelspec.store.files import os_errors_explained, replace_file, sync_folder
from modelspec.store.locks import held
from modelspec.store.stat_cache import StatCache
from modelspec.store.store import Store

_LOCK_DEADLINE_S = 600.0
_DRAFT, _ASIDE = ".draft", ".aside"


def folder_of(spec: ModelSpec, output: Path) -> Path:
    """Where a spec is published."""
    return output / spec.name / spec.version


def is_current(folder: Path, publication: Publication, stats: StatCache) -> bool:
    """Whether `folder` holds this very publication, every file of it untouched and nothing beside them."""
    expected = {
        f"{label}/{file.path}": file.sha256 for label, files in published(publication).items() for file in files
    }
    try:
        build = json.loads((folder / BUILD).read_bytes())
        sums = (folder / CHECKSUMS).read_text().splitlines()
        if build["publication"] != identity(publication.resolved, publication.plan, publication.records):
            return False
        listed = {path: sha256 for sha256, path in (line.split("  ", 1) for line in sums)}
        if {path: sha256 for path, sha256 in listed.items() if path != CARD} != expected:
            return False
        if set(digest.files_under(folder)) != {*listed, BUILD, CHECKSUMS}:
            return False
        if build["checksums"] != stats.of_file(folder / CHECKSUMS)[0]:
            return False
        return all(stats.of_file(folder / path)[0] == sha256 for path, sha256 in listed.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def publish(publication: Publication, output: Path, store: Store) -> tuple[Path, bool]:
    """Write dist/<name>/<version>/; returns it, and whether it took the place of other content."""
    folder = folder_of(publication.resolved.loaded.spec, output)
    with os_errors_explained("publishing"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise fail("MS402", f"{folder} is not a folder", help="move it away, or choose another --output")
        # The folder itself is the lock: builds that share it need not share a cache.
        with held(folder.parent, _LOCK_DEADLINE_S, str(folder)):
            _recover(folder)
            with _draft_of(folder) as draft:
                fill(draft, publication, store)
                replaced = folder.exists() and _checksums(folder) != _checksums(draft)
    return folder, replaced


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """An empty draft that takes the place of a published folder when the block ends, and is removed when it fails."""
    with held(folder.parent, _LOCK_DEADLINE_S, str(folder)), _draft_of(folder) as draft:
        yield draft
        for written in (path for path in draft.rglob("*") if path.is_file()):
            with written.open("rb") as opened:
                os.fsync(opened.fileno())


@contextmanager
def _draft_of(folder: Path) -> Iterator[Path]:
    draft = _beside(folder, _DRAFT)
    draft.mkdir()
    try:
        yield draft
        _swap(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def tidy(folder: Path) -> None:
    """Remove what a build that died while it published left beside `folder`; where that fails, nothing is lost."""
    with suppress(OSError, ModelspecError):
        if _leftovers(folder):
            with held(folder.parent, _LOCK_DEADLINE_S, str(folder)):
                _recover(folder)


def write_lock(spec: Path, lock: Lock) -> bool:
    """Write model.lock beside the spec, if it says something new; whether it could be."""
    file, text = path_of(spec), as_text(lock)
    try:
        if file.is_file() and file.read_text(encoding="utf-8") == text:
            return True
        with held(file.parent, _LOCK_DEADLINE_S, str(file)):
            replace_file(file, text.encode())
    except OSError:
        return False
    return True


def _leftovers(folder: Path) -> list[Path]:
    return [path for kind in (_ASIDE, _DRAFT) for path in folder.parent.glob(f".{folder.name}.*{kind}")]


def _recover(folder: Path) -> None:
    """Put back what a build that died between its two renames had moved aside; a draft may be torn, and goes."""
    for leftover in _leftovers(folder):
        if leftover.suffix == _ASIDE and not folder.exists():
            leftover.rename(folder)
        else:
            shutil.rmtree(leftover, ignore_errors=True)


def _beside(folder: Path, kind: str) -> Path:
    return folder.parent / f".{folder.name}.{secrets.token_hex(4)}{kind}"


def _checksums(folder: Path) -> bytes:
    try:
        return (folder / CHECKSUMS).read_bytes()
    except OSError:
        return b""


def _swap(draft: Path, folder: Path) -> None:
    """Exchange the two names in one step; where the file system cannot, move the old one aside first."""
    from modelspec.platform_linux import exchange

    sync_folder(draft)
    if not folder.exists():
        draft.rename(folder)
    elif not exchange(draft, folder):
        aside = _beside(folder, _ASIDE)
        folder.rename(aside)
        try:
            draft.rename(folder)
        except OSError:
            aside.rename(folder)
            raise
        shutil.rmtree(aside, ignore_errors=True)
    sync_folder(folder.parent)
