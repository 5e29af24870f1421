"""Pickles that make a canary file when they are loaded, in as many shapes as the format has ways to call something."""

import pickle
import struct
from pathlib import Path
from typing import Any


def _text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _long(data: bytes) -> bytes:
    return b"\x95" + struct.pack("<Q", len(data)) + data


class _Touch:
    def __init__(self, path: str, how: str) -> None:
        self.path, self.how = path, how

    def __reduce__(self) -> tuple[Any, ...]:
        if self.how == "open":
            return (open, (self.path, "w"))
        if self.how == "exec":
            return (exec, (f"open({self.path!r}, 'w')",))
        return (Path.touch, (Path(self.path),))


class _Call:
    def __init__(self, path: str, how: str) -> None:
        self.path, self.how = path, how

    def __reduce__(self) -> tuple[Any, ...]:
        if self.how == "items":
            return (list, (), None, iter([_Touch(self.path, "open")]))
        if self.how == "setter":
            return (list, (), self.path, None, None, _touch)
        return (dict, (), None, None, iter([("key", _Touch(self.path, "exec"))]))


def _touch(_made: object, path: str) -> None:
    Path(path).touch()


def shapes(canary: Path) -> dict[str, bytes]:
    """The pickles by what is odd about them. All but those in `HARMLESS` make the file."""
    path = str(canary)
    args = _text(path) + _text("w")
    line = f"S{path!r}\nS'w'\n".encode()
    named = b"cbuiltins\nopen\n"
    on_stack = _text("builtins") + _text("open") + b"\x93"
    made = {
        f"{how} as of protocol {version}": pickle.dumps(_Touch(path, how), protocol=version)
        for how in ("open", "exec", "touch")
        for version in range(6)
    }
    made |= {f"called for its {how}": pickle.dumps(_Call(path, how)) for how in ("items", "setter", "pairs")}
    made |= {
        "global, protocol 0": named + b"(" + line + b"tR.",
        "global, no protocol": named + b"(" + args + b"tR.",
        "name on the stack": b"\x80\x04" + on_stack + args + b"\x86R.",
        "name from the memo": b"\x80\x04" + _text("builtins") + b"\x94" + b"0" + _text("open") + b"\x940h\x00h\x01\x93" + args + b"\x86R.",
        "name of the other protocol's module": b"\x80\x02c__builtin__\nopen\n" + args + b"\x86R.",
        "dotted name": b"\x80\x04" + _text("builtins") + _text("open.__call__") + b"\x93" + args + b"\x86R.",
        "instance": b"(" + line + b"ibuiltins\nopen\n.",
        "object": b"(" + named + args + b"o.",
        "new object": b"\x80\x02" + b"c_io\nFileIO\n" + args + b"\x86R.",
        "result thrown away": named + b"(" + args + b"tR0N.",
        "result in a list": b"]" + named + b"(" + args + b"tRa.",
        "result as a key": b"}" + named + b"(" + _text(path) + _text("w") + b"tRK\x01s.",
        "second after the end": pickle.dumps({"weights": [1.0]}) + named + b"(" + args + b"tR.",
        "frame too short": b"\x80\x04" + b"\x95\x01\0\0\0\0\0\0\0" + named + b"(" + args + b"tR.",
        "framed": b"\x80\x04" + _long(named + b"(" + args + b"tR."),
        "cut off after the call": named + b"(" + args + b"tR",
        "garbage after the call": named + b"(" + args + b"tR\xff\xff",
        "extension code": b"\x80\x02\x82\xf0.",
        "state": b"\x80\x02cpathlib\nPath\n" + _text(path) + b"\x85Rcpathlib\nPath.touch\n" + b".",
        "persistent": b"\x80\x02" + _text(path) + b"Q.",
        "through getattr": b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(" + _text("os") + b"tR" + _text("mknod") + b"tR(" + _text(path) + b"tR.",
    }  # fmt: skip
    return made


HARMLESS = {"second after the end", "extension code", "state", "persistent"}
"""Those that the plain reader does not run, or not to the end; they are refused all the same."""
