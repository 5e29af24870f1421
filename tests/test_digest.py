"""Digests: equal values have one spelling, and names count."""

import io
import subprocess
from pathlib import Path

import pytest

from modelspec import digest


def test_a_file_hashes_as_sha256sum_does(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(range(256)) * 9000)
    said = subprocess.run(["sha256sum", str(path)], capture_output=True, text=True, check=True).stdout.split()[0]
    assert digest.of_file(path) == said


def test_canonical_json_sorts_and_keeps_unicode() -> None:
    assert digest.canonical_json({"b": 1, "a": ["é", 0.1]}) == '{"a":["é",0.1],"b":1}'.encode()


def test_not_a_number_has_no_canonical_form() -> None:
    with pytest.raises(ValueError, match="JSON"):
        digest.canonical_json({"a": float("nan")})


def test_a_tree_depends_on_names() -> None:
    assert digest.of_tree({"a": "1", "b": "2"}) == digest.of_tree({"b": "2", "a": "1"})
    assert digest.of_tree({"a": "1"}) != digest.of_tree({"b": "1"})


def test_copying_hashes_what_was_copied() -> None:
    target = io.BytesIO()
    data = b"x" * (digest.CHUNK + 17)
    assert digest.copy_and_hash(io.BytesIO(data), target) == (digest.of_bytes(data), len(data))
    assert target.getvalue() == data


def test_sums_are_in_the_format_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"2")
    (tmp_path / "a").write_bytes(b"1")
    text = digest.sums((digest.of_file(tmp_path / name), name) for name in ("b", "a"))
    assert [line.split("  ")[1] for line in text.splitlines()] == ["a", "b"]
    subprocess.run(["sha256sum", "--check"], input=text, text=True, check=True, cwd=tmp_path)
