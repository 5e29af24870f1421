"""Two published folders, file by file: byte for byte, and by what they mean where the bytes differ."""

from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter

from modelspec import digest
from modelspec.checks.difference import Difference
from modelspec.errors import ModelspecError
from modelspec.execute.alone import Workers
from modelspec.meaning.values import compare_text
from modelspec.meaning.verdict import FileVerdict, Finding, Tolerance, Verdict
from modelspec.publication import BUILD, CHECKSUMS
from modelspec.verify.published import Published
from modelspec.verify.record import ParitySaid, read_target

_REPORT = TypeAdapter(tuple[FileVerdict, ...])


def compare(published: Published, rebuilt: Path, workers: Workers) -> list[FileVerdict]:
    """A verdict on every file but build.json, which holds times, and checksums.txt, which follows from the others."""
    old = published.files.digests
    new = {
        path: digest.of_file(rebuilt / path) for path in digest.files_under(rebuilt) if path not in {BUILD, CHECKSUMS}
    }
    found: dict[str, FileVerdict] = {}
    for path in {*new, *old}:
        if path not in old or path not in new:
            text = "the rebuild has no such file" if path in old else "only the rebuild has this file"
            found[path] = FileVerdict(path, Verdict.DIFFERENT, (Finding("file", "", text),))
        elif new[path] == old[path]:
            found[path] = FileVerdict(path, Verdict.EXACT)
    open_ = sorted(new.keys() - found.keys())
    for label in published.build.metrics:
        if names := tuple(path.removeprefix(f"{label}/") for path in open_ if path.startswith(f"{label}/")):
            found |= _of_target(published, label, names, rebuilt, workers)
    for path in (path for path in open_ if path not in found):
        found[path] = _of_root(published, path, rebuilt)
    return [found[path] for path in sorted(found)]


def _of_target(
    published: Published, label: str, names: tuple[str, ...], rebuilt: Path, workers: Workers
) -> dict[str, FileVerdict]:
    """The files of one target whose bytes differ, compared in a worker."""
    digests, parity, tolerant = published.files.digests, published.parity(label), bool(published.others)
    recorded = published.build.digests("recorded")
    granted = tuple(name for name in names if tolerant or digests[f"{label}/{name}"] in recorded)
    inputs = {
        "published": {p.removeprefix(f"{label}/"): published.folder / p for p in digests if p.startswith(f"{label}/")},
        "rebuilt": {name: rebuilt / label / name for name in digest.files_under(rebuilt / label)},
    }
    try:
        check = Difference(files=names, tolerant=granted, rtol=parity.rtol, atol=parity.atol)
        target = read_target(rebuilt, label).model_copy(update={"name": label})
        report = _REPORT.validate_json(workers.run(check, target, inputs))
    except ModelspecError as error:
        finding = Finding("file", "", f"cannot be compared: {error.diagnostics[0].message}")
        report = tuple(FileVerdict(name, Verdict.DIFFERENT, (finding,)) for name in names)
    return {f"{label}/{one.file}": replace(one, file=f"{label}/{one.file}") for one in report}


def _of_root(published: Published, path: str, rebuilt: Path) -> FileVerdict:
    """A text beside the targets, such as the card."""
    usual = ParitySaid()
    try:
        old, new = (side.joinpath(path).read_bytes().decode() for side in (published.folder, rebuilt))
    except UnicodeDecodeError:
        return FileVerdict(path, Verdict.DIFFERENT, (Finding("file", "", "the bytes differ"),))
    tolerance = Tolerance(usual.rtol, usual.atol, granted=bool(published.others))
    return FileVerdict(path, *compare_text(old, new, tolerance))
