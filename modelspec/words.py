"""What a misspelt word most likely stands for."""

from collections.abc import Iterable


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant."""
    import difflib  # not needed by what is spelled right

    options = {name.lower(): name for name in known}
    if not word.isascii():
        import re
        import unicodedata

        # A letter of another alphabet may look like one of ours; the others tell which word it is.
        letters = unicodedata.normalize("NFKC", word).lower()
        pattern = "".join(re.escape(char) if char.isascii() else "." for char in letters)
        alike = [name for letters, name in options.items() if re.fullmatch(pattern, letters)]
        if len(alike) == 1:
            return alike[0]
    found = difflib.get_close_matches(word.lower(), options, n=1, cutoff=0.6)
    return options[found[0]] if found else None


def meant(word: str, known: Iterable[str]) -> str:
    """The fix for a word that is none of the known ones."""
    names = list(known)
    near = closest(word, names)
    return f"did you mean {near!r}?" if near else f"one of: {', '.join(names)}"


def foreign(word: str) -> str:
    """Which letters of a word no keyword has: they may look like others."""
    found = dict.fromkeys(f"U+{ord(char):04X}" for char in word if not char.isascii())
    return f"it holds {', '.join(list(found)[:4])}" if found else ""
