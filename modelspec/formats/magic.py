"""What a file is by its first bytes, for files whose name says something else."""

import pickletools

HEAD = 1 << 16
"""How many bytes `kind` wants to see."""

_STARTS = (
    (b"PK\3\4", "a zip archive"),
    (b"PK\5\6", "a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a rar archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\0", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"\x04\x22\x4d\x18", "an lz4 file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "an .npy file"),
    (b"GGUF", "a GGUF file"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
)


def kind(head: bytes) -> str:
    """`a zip archive`, `a pickle` and so on; empty for what has no mark."""
    if head[257:262] == b"ustar":
        return "a tar archive"
    found = next((name for start, name in _STARTS if head.startswith(start)), "")
    return found or ("a pickle" if _is_pickle(head) else "")


def _is_pickle(head: bytes) -> bool:
    """Whether the bytes begin as a pickle that announces itself, names something or ends; parsed, never run."""
    try:
        for operation, _, _ in pickletools.genops(head):
            if operation.name in {"PROTO", "GLOBAL", "INST", "STACK_GLOBAL", "STOP"}:
                return True
    except (ValueError, IndexError, KeyError, OverflowError):
        return False
    return False
