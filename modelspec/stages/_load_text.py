"""The texts of a data set -> what a tokenizer makes of them, beside the texts themselves."""

from typing import TYPE_CHECKING, Any

from modelspec.errors import fail
from modelspec.stage import Job

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def with_tokens(job: Job, arrays: "dict[str, Array]", labels: str | None) -> "tuple[dict[str, Array], str | None]":
    """The arrays, with texts under the name of the model's input, and that name. A set of ready ids stays, without one."""
    from modelspec.runtime.processing import TENSORS, TokenizerError

    assert job.tokenizer is not None
    column = _column(arrays, labels, job.tokenizer.input)
    if column is None:
        return arrays, None
    if ready := [name for name in TENSORS if name in arrays]:
        raise fail(
            "MS508", f"the data set holds both texts ({column!r}) and {ready[0]!r}", help="leave one of the two out"
        )
    opened = job.tokenizer.open(job.files.path("tokenizer"))
    texts = [str(text) for text in arrays[column]]
    try:
        made, cut = opened.encode(texts), opened.is_cut(texts)
    except TokenizerError as error:
        raise fail("MS508", f"the texts in {column!r} cannot be read: {error}", help="correct the texts") from error
    if cut:
        most = job.tokenizer.max_length
        message = f"{cut} of {len(texts)} texts have more than {most} tokens and are cut"
        job.warn("MS559", message, help="raise max_length, if the model takes more", path=("tokenizer", "max_length"))
    others = {name: array for name, array in arrays.items() if name != column}
    return {job.tokenizer.input: arrays[column], **others, **made}, job.tokenizer.input


def _column(arrays: "dict[str, Array]", labels: str | None, name: str) -> str | None:
    """The array of texts: by its name, else the only array of text."""
    unlabelled = {key: array for key, array in arrays.items() if key != labels}
    found = [name] if name in unlabelled else [key for key, array in unlabelled.items() if array.dtype.kind == "U"]
    if not found:
        return None
    array = unlabelled[found[0]]
    if len(found) > 1 or array.dtype.kind != "U" or array.ndim != 1:
        raise fail(
            "MS508",
            f"of {', '.join(map(repr, found))} none is one text for each sample: {array.dtype} {list(array.shape)}",
            help=f"give the texts as one array of strings, called {name!r}",
        )
    return found[0]
