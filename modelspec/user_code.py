"""Loads `file.py:callable` from the user's code, in a worker; what goes wrong is told with the user's file and line."""

import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modelspec.errors import ModelspecError, fail


def resolve(entrypoint: str, folder: Path) -> Callable[..., Any]:
    """The callable. Raises MS517 when the file fails, MS324 when it has no such callable."""
    file, _, name = entrypoint.partition(":")
    path = folder / file
    if not path.is_file():
        raise fail("MS324", f"{file!r} is not among the user's code", help=f"add it to source: code: [{file}]")
    module_name = file.removesuffix(".py").replace("/", ".")
    with explained(folder):
        module = sys.modules.get(module_name)
        if module is None or getattr(module, "__file__", None) != str(path):
            specification = importlib.util.spec_from_file_location(module_name, path)
            assert specification is not None
            assert specification.loader is not None
            module = importlib.util.module_from_spec(specification)
            sys.modules[module_name] = module
            specification.loader.exec_module(module)
    found = getattr(module, name, None)
    if not callable(found):
        raise fail("MS324", f"{file} has no callable {name!r}", help=f"define it: def {name}(...)")
    return found  # type: ignore[no-any-return]


def call(entrypoint: str, folder: Path, *arguments: Any, **params: Any) -> Any:
    """What the callable gives for these arguments. Raises what `resolve` does, and MS517 for what goes wrong."""
    function = resolve(entrypoint, folder)
    try:
        inspect.signature(function).bind(*arguments, **params)
    except (TypeError, ValueError) as error:
        what = f"{len(arguments)} arguments" if arguments else "these params"
        message = f"{entrypoint} does not take {what}: {error}"
        fix = "correct the function" if arguments else "correct params"
        raise fail("MS517", message, help=fix, path=() if arguments else ("params",)) from error
    with explained(folder):
        return function(*arguments, **params)


class explained:  # noqa: N801 - reads as a sentence: `with explained(folder):`
    """Turns an exception that comes from the user's code into MS517 with its line; others pass."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, Exception | SystemExit) or isinstance(error, ModelspecError):
            return
        place = _place(error, self.folder)
        if place is None:
            return
        text = str(error).strip().splitlines()[:1]
        fix = "see the log for the whole traceback"
        if isinstance(error, ModuleNotFoundError):
            top = (error.name or "").partition(".")[0]
            own = f'a file or folder of yours: source: code: ["*.py", "{top}/**/*.py"]'
            fix = f"{own}; a distribution: install it and add it to source: requires"
        if _wanted_network(error):
            fix = "actions have no network: put the file into the project, and name it in the spec"
        elif isinstance(error, FileNotFoundError):
            fix = 'the code sees declared files only: a file that it reads is named as code is, source: code: ["*.py", "table.csv"]'
        said = (text[0] if text else "no message").replace(f"{self.folder}/", "")
        message = f"{place}: {type(error).__name__}: {said}"
        raise fail("MS517", message, help=fix) from error


_UNREACHABLE = (
    "Network is unreachable",
    "Cannot assign requested address",
    "Name or service not known",
    "Temporary failure in name resolution",
    "offline mode is enabled",
    "couldn't connect to",
)
"""What a process without a network hears from the kernel, from name resolution and from Hugging Face's libraries; others
wrap it in errors of their own."""


def _wanted_network(error: BaseException | None) -> bool:
    while error is not None:
        if any(words in str(error) for words in _UNREACHABLE):
            return True
        error = error.__cause__ or error.__context__
    return False


def _place(error: Exception | SystemExit, folder: Path) -> str | None:
    if isinstance(error, SyntaxError) and error.filename and error.filename.startswith(str(folder)):
        return f"{Path(error.filename).relative_to(folder).as_posix()}:{error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(str(folder))]
    return f"{Path(frames[-1].filename).relative_to(folder).as_posix()}:{frames[-1].lineno}" if frames else None
