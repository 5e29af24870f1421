"""The files of a published folder against its checksums: every byte is read, nothing is taken from a cache."""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from modelspec import digest
from modelspec.errors import Diagnostic
from modelspec.publication import BUILD, CHECKSUMS
from modelspec.verify.record import AGAIN, BuildSaid

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_OF_EVERY_TARGET = ("metrics.json", "runtime.json", "signature.json", "golden/inputs.npz", "golden/outputs.npz")
"""Without one of these something would go unverified."""
_OF_PUBLICATION = frozenset({"metrics.json", "MODEL_CARD.md"})
"""What publication writes itself; every other file is the output of an action."""


@dataclass(frozen=True)
class Files:
    """What lies in a published folder."""

    digests: Mapping[str, str]
    """Path -> digest of each regular file but build.json and checksums.txt."""
    listed: Mapping[str, str]
    """Path -> digest by checksums.txt."""
    problems: tuple[Diagnostic, ...]

    def sound(self, paths: list[str]) -> bool:
        """Whether all of these files are there as they are listed."""
        return all(path in self.digests and self.digests[path] == self.listed.get(path) for path in paths)

    def of_target(self, label: str) -> list[str]:
        """The listed files of a target."""
        return [path for path in self.listed if path.startswith(f"{label}/")]


def check(folder: Path) -> Files:
    """Hash every file. Problems: MS602 for other bytes, MS603 for what is missing, too many, or no plain file."""
    present, odd = _present(folder)
    problems = [Diagnostic("MS603", f"{path} is {kind}", help="a build publishes plain files alone: remove the folder and build again") for path, kind in odd.items()]  # fmt: skip
    listed, unreadable = _listed(folder) if CHECKSUMS in present else ({}, [])
    digests = {path: digest.of_file(folder / path) for path in present if path not in {BUILD, CHECKSUMS}}
    missing = (path for path in (BUILD, CHECKSUMS, *listed) if path not in present and path not in odd)
    problems += [Diagnostic("MS603", f"{path} is missing", help=AGAIN) for path in missing]
    if CHECKSUMS in present and not unreadable:
        problems += _other_files(digests, listed)
    return Files(digests, listed, (*problems, *unreadable))


def _other_files(digests: Mapping[str, str], listed: Mapping[str, str]) -> Iterator[Diagnostic]:
    for path, found in digests.items():
        if path not in listed:
            yield Diagnostic("MS603", f"{path} is not part of this build", help="remove it")
        elif listed[path] != found:
            said = f"{CHECKSUMS} says {listed[path][:12]}, the file is {found[:12]}"
            yield Diagnostic("MS602", f"{path} does not match its digest: {said}", help=AGAIN)


def _present(folder: Path) -> tuple[list[str], dict[str, str]]:
    """The regular files; and what is neither file nor folder, as path -> what it is."""
    found: list[str] = []
    odd: dict[str, str] = {}
    for parent, folders, names in os.walk(folder, onerror=_raise):
        for name in (*names, *folders):
            path = Path(parent, name)
            relative = path.relative_to(folder).as_posix()
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                found.append(relative)
            elif not stat.S_ISDIR(mode):
                odd[relative] = "a link" if stat.S_ISLNK(mode) else "not a regular file"
    return sorted(found, key=os.fsencode), odd


def _raise(error: OSError) -> None:
    raise error


def _listed(folder: Path) -> tuple[dict[str, str], list[Diagnostic]]:
    """checksums.txt as path -> digest; MS604 where it is not as a build writes it."""
    listed: dict[str, str] = {}
    data = (folder / CHECKSUMS).read_bytes()
    for number, line in enumerate(data.decode(errors="replace").splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None or match[2] in listed or not _is_inside(match[2]):
            problem = f"line {number} of {CHECKSUMS} is not a digest and a path inside the folder, or is there twice"
            return listed, [Diagnostic("MS604", problem, help=AGAIN)]
        listed[match[2]] = match[1]
    return listed, []


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return PurePosixPath(path).as_posix() == path and ".." not in parts and not path.startswith("/")


def against_record(folder: Path, files: Files, build: BuildSaid) -> Iterator[Diagnostic]:
    """checksums.txt, and the digest of each file in it, against what build.json says that the actions made."""
    path = folder / CHECKSUMS
    if path.is_symlink() or not path.is_file():
        return
    if digest.of_file(path) != build.checksums:
        yield Diagnostic("MS602", f"{CHECKSUMS} is not the one that {BUILD} records", help=AGAIN)
    made = build.digests()
    for name, sha256 in files.listed.items():
        if sha256 not in made and name.rpartition("/")[2] not in _OF_PUBLICATION:
            yield Diagnostic("MS604", f"{name} is listed with a digest that no action of {BUILD} made", help=AGAIN)
    needed = (f"{label}/{name}" for label in build.metrics for name in (*_OF_EVERY_TARGET, *build.artifact(label)))
    for name in (name for name in needed if name not in files.listed):
        yield Diagnostic("MS604", f"{name} is not listed, and every build has it", help=AGAIN)
    folders = {name.partition("/")[0] for name in files.listed if "/" in name}
    if files.listed and folders != set(build.metrics):
        text = f"the folders are {_words(folders)}, and {BUILD} records {_words(set(build.metrics))}"
        yield Diagnostic("MS604", text, help=AGAIN)


def _words(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
