"""What a misspelt word most likely stands for."""

from collections.abc import Iterable


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant."""
    import difflib  # not needed by what is spelled right

    options = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), options, n=1, cutoff=0.6)
    return options[found[0]] if found else None


def meant(word: str, known: Iterable[str]) -> str:
    """The fix for a word that is none of the known ones."""
    names = list(known)
    near = closest(word, names)
    return f"did you mean {near!r}?" if near else f"one of: {', '.join(names)}"
