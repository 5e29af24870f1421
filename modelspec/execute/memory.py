"""The limit on an action's memory, and the many ways in which libraries say that there is no more."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

_WORDS = (
    "std::bad_alloc",
    "bad allocation",
    "can't allocate memory",
    "cannot allocate memory",
    "unable to allocate",
    "failed to allocate memory",
    "memoryerror",
)
"""What C++ says of it, torch, the C library, numpy, ONNX Runtime, and Python programs in their last line; lower case."""


@contextmanager
def limited(size: int | None) -> Iterator[None]:
    """Give this process and each that it starts `size` bytes; lifted at the end, because a report takes memory too.

    Of the kernel's limits this is the one on private memory. That on address space is of no use here: libraries
    reserve it by the gigabyte, and mapped weights count.
    """
    before, most = resource.getrlimit(resource.RLIMIT_DATA)
    if size is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (size if most == resource.RLIM_INFINITY else min(size, most), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, most))


def ran_out(error: BaseException | None) -> bool:
    """Whether an error, or one that it comes from, says that memory ran out; libraries have no common type for it."""
    while error is not None:
        if isinstance(error, MemoryError) or speaks_of_it(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def speaks_of_it(text: str) -> bool:
    """Whether the text says that memory ran out."""
    return any(words in text.lower() for words in _WORDS)
