"""Plain YAML scalars -> values, by the core schema of YAML 1.2: `no`, `on` and `1:30` are strings."""

import math
import re

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"^[-+]?[0-9]+$")
_HEXADECIMAL = re.compile(r"^0x[0-9a-fA-F]+$")
_OCTAL = re.compile(r"^0o[0-7]+$")
_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_NOT_FINITE = re.compile(r"^([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$")
_LONGEST = 40
"""Characters of a number that is still converted; longer ones take quadratic time or exceed every type."""

Scalar = str | int | float | bool | None


class RefusedNumberError(ValueError):
    """A number that is refused, with the fix as second argument."""


def resolve(text: str) -> Scalar:
    """The value of a plain scalar. Raises RefusedNumberError."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INTEGER.match(text):
        return _integer(text, 10)
    if _HEXADECIMAL.match(text):
        return _integer(text, 16)
    if _OCTAL.match(text):
        raise RefusedNumberError(f"{text[:_LONGEST]!r} is octal to some readers and text to others",
                                 "write it as a decimal number, or quote it")  # fmt: skip
    if _NOT_FINITE.match(text):
        raise RefusedNumberError(f"{text!r} is not a finite number", "write a number, or leave the key out")
    if _FLOAT.match(text):
        number = float(text) if len(text) <= _LONGEST else math.inf
        if math.isinf(number):
            raise RefusedNumberError(f"the number {_short(text)} is out of range", "write a smaller number")
        return number
    return text


def _integer(text: str, base: int) -> int:
    digits = text.lstrip("+-")
    if base == 10 and len(digits) > 1 and digits.startswith("0"):
        raise RefusedNumberError(f"{_short(text)} is octal to some readers and decimal to others",
                                 "drop the leading zero, or quote it")  # fmt: skip
    number = int(text, base) if len(text) <= _LONGEST else 1 << 64
    if not -(1 << 63) <= number < 1 << 63:
        raise RefusedNumberError(
            f"the number {_short(text)} is out of range", "it has to fit in 64 bits; quote it if it is text"
        )
    return number


def _short(text: str) -> str:
    return repr(text) if len(text) <= _LONGEST else f"'{text[:12]}...' of {len(text)} characters"
