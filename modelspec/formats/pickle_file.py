"""Pickles, joblib's included: loaded only when their digest is trusted, since loading one runs what it says."""

import pickle
from pathlib import Path
from typing import Any

from modelspec.errors import fail
from modelspec.formats import trust

SUFFIXES = (".joblib", ".pickle", ".pkl")


def read(path: Path, trusted: str | None) -> Any:
    """The object. Raises MS612 and MS615 unread when its digest is not trusted, MS504 when it cannot be loaded."""
    trust.require(
        path, trusted, why="is a pickle", instead='save the estimator with skops.io.dump(model, "model.skops")', field="artifact"
    )  # fmt: skip
    import zlib

    import joblib

    try:
        return joblib.load(path)
    except (
        pickle.UnpicklingError, AttributeError, ImportError, EOFError, LookupError, TypeError, ValueError, OSError,
        RecursionError, zlib.error,
    ) as error:  # fmt: skip
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise fail(
            "MS504",
            f"{path.name} is trusted, and cannot be loaded: {reason}",
            help="save it again with the versions that are installed here",
            path=("artifact",),
        ) from error
