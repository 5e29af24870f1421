"""Loaders: each format into named arrays, each damaged file told with its place."""

import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelspec.errors import ModelspecError
from modelspec.formats import npz
from modelspec.loader import Loader
from modelspec.loaders.csv import Csv
from modelspec.loaders.jsonl import Jsonl
from modelspec.loaders.npz import Npz
from modelspec.loaders.python import Python
from modelspec.stage import Job
from modelspec.stages.load import Load
from modelspec.stages.sample import Sample

Loads = Callable[..., dict[str, Any]]


@pytest.fixture
def loads(tmp_path: Path, run_stage: Any) -> Loads:
    """Run the load stage over a file of this content; returns the arrays, and what data.json says under ''."""

    def run(loader: Loader, content: bytes | str) -> dict[str, Any]:
        slot = "code" if isinstance(loader, Python) else "path"
        folder = tmp_path / "input"
        folder.mkdir(exist_ok=True)
        name = "data.py" if isinstance(loader, Python) else str(loader.path)  # type: ignore[attr-defined]
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        sys.modules.pop("data", None)
        job: Job = run_stage(Load(), {slot: folder}, loader=loader)
        arrays: dict[str, Any] = dict(npz.read(job.output("data") / "data.npz"))
        return {**arrays, "": json.loads((job.output("data") / "data.json").read_text()), "warnings": job.warnings}

    return run


def refused(loads: Loads, loader: Loader, content: bytes | str) -> Any:
    with pytest.raises(ModelspecError) as caught:
        loads(loader, content)
    return caught.value.diagnostics[0]


def archive(**arrays: Any) -> bytes:
    np.savez(buffer := io.BytesIO(), **arrays)
    return buffer.getvalue()


NPZ, CSV, JSONL = Npz(path="d.npz"), Csv(path="d.csv"), Jsonl(path="d.jsonl")


def test_npz_arrays_come_as_they_are(loads: Loads) -> None:
    found = loads(
        Npz(path="d.npz", labels="y"),
        archive(x=np.eye(3, dtype=np.float32), y=np.arange(3), t=np.array(["a", "b", "c"])),
    )
    assert found["x"].dtype == np.float32
    assert found["t"].tolist() == ["a", "b", "c"]
    assert found[""] == {"labels": "y", "rows": 3}


def test_no_more_than_the_first_rows(loads: Loads) -> None:
    found = loads(Npz(path="d.npz", samples=2), archive(x=np.arange(5), y=np.arange(5)))
    assert (found["x"].tolist(), found["y"].tolist(), found[""]["rows"]) == ([0, 1], [0, 1], 2)
    assert not found["warnings"]
    assert [w.code for w in loads(Npz(path="d.npz", samples=9), archive(x=np.arange(5)))["warnings"]] == ["MS554"]


@pytest.mark.parametrize(("content", "code", "words"), [
    (b"", "MS509", "not a readable npz"),
    (b"PK\x03\x04 and no more", "MS509", "not a readable npz"),
    (archive(x=np.eye(3))[:-40], "MS509", "not a readable npz"),
    (archive(x=np.eye(3), y=np.arange(2)), "MS509", "disagree on the number of samples"),
    (archive(x=np.float32(3)), "MS509", "no axis of samples"),
    (archive(x=np.zeros((0, 3))), "MS509", "no samples"),
    (archive(), "MS509", "no arrays"),
    (archive(x=np.array([{"a": 1}], dtype=object)), "MS612", "Python objects"),
])  # fmt: skip
def test_a_bad_npz_is_refused(loads: Loads, content: bytes, code: str, words: str) -> None:
    problem = refused(loads, NPZ, content)
    assert problem.code == code
    assert words in problem.message


def test_a_bomb_a_lie_and_a_double_are_refused(loads: Loads) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.zeros(30_000_000, dtype=np.uint8))
    assert "inflates" in refused(loads, NPZ, buffer.getvalue()).message
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)})
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as zipped:
        zipped.writestr("x.npy", header.getvalue())
    assert "promises" in refused(loads, NPZ, buffer.getvalue()).message
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        np.save(member := io.BytesIO(), np.array([1]))
        zipped.writestr("x.npy", member.getvalue())
        with pytest.warns(UserWarning, match="Duplicate"):
            zipped.writestr("x.npy", member.getvalue())
    assert "twice" in refused(loads, NPZ, buffer.getvalue()).message


def test_equal_arrays_give_equal_files(tmp_path: Path) -> None:
    arrays = {"b": np.eye(3), "a": np.array(["x", "yy"]), "s": np.float32(2)}
    for name in ("one", "two"):
        npz.write(tmp_path / name, {k: np.array(v) for k, v in arrays.items()})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert list(npz.read(tmp_path / "one")) == ["b", "a", "s"]


def test_csv_columns_become_one_array_and_labels(loads: Loads) -> None:
    found = loads(Csv(path="d.csv", labels="kind"), "a,kind,b\n1,0,2.5\n3,1,4\n\n")
    assert found["x"].tolist() == [[1.0, 2.5], [3.0, 4.0]]
    assert (found["kind"].tolist(), found["kind"].dtype) == ([0, 1], np.int64)


def test_csv_columns_by_name_and_labels_that_are_words(loads: Loads) -> None:
    loader = Csv(path="d.csv", labels="kind", delimiter=";", columns={"left": ("b", "a"), "right": ("c",)})
    found = loads(loader, "a;b;c;kind;note\n1;2;3;cat;x\n4;5;6;dog;y\n")
    assert found["left"].tolist() == [[2.0, 1.0], [5.0, 4.0]]
    assert found["right"].tolist() == [[3.0], [6.0]]
    assert found["kind"].tolist() == ["cat", "dog"]


@pytest.mark.parametrize(("content", "words"), [
    ("", "no header"),
    ("a,a\n1,2\n", "a column twice"),
    ("a,b\n1,2\n3\n", "line 3 has 1 values, the header 2"),
    ("a,b\n1,x\n", "row 1 has 'x' in the column 'b', which is no number"),
    ("a;b\n1;2\n", "one column, named 'a;b'"),
    ("a,b\n", "no samples"),
    (b"a,b\n1,\xff\n", "not readable CSV"),
    ('a,b\n1,"2\n', "not readable CSV"),
])  # fmt: skip
def test_a_bad_csv_is_refused(loads: Loads, content: bytes | str, words: str) -> None:
    problem = refused(loads, CSV, content)
    assert problem.code == "MS509"
    assert words in problem.message


def test_an_empty_field_is_a_missing_number(loads: Loads) -> None:
    found = loads(Csv(path="d.csv", labels="y"), "a,b,y\n1,,0\n ,4,1\n")
    np.testing.assert_array_equal(found["x"], [[1, np.nan], [np.nan, 4]])


def test_columns_and_labels_that_are_not_there_are_told(loads: Loads) -> None:
    problem = refused(loads, Csv(path="d.csv", labels="kind"), "a, kind\n1,2\n")
    assert problem.message == "there is no column 'kind'; there are 'a', ' kind'"
    assert problem.help == "did you mean ' kind'?"
    problem = refused(loads, Csv(path="d.csv", columns={"x": ("a", "z")}), "a,b\n1,2\n")
    assert (problem.path, problem.message) == (("columns",), "there is no column 'z'; there are 'a', 'b'")
    assert refused(loads, Npz(path="d.npz", labels="y"), archive(x=np.eye(2))).code == "MS509"


def test_jsonl_keys_become_arrays(loads: Loads) -> None:
    found = loads(JSONL, '{"ids": [1, 2], "score": 0.5, "text": "a"}\n\n{"ids": [3, 4], "score": 1, "text": "bc"}\n')
    assert (found["ids"].tolist(), found["ids"].dtype) == ([[1, 2], [3, 4]], np.int64)
    assert found["score"].tolist() == [0.5, 1.0]
    assert found["text"].tolist() == ["a", "bc"]


@pytest.mark.parametrize(("content", "words"), [
    ("", "no samples"),
    ("{", "line 1 is not JSON"),
    ('{"a": 1}\n[1]\n', "line 2 is not an object"),
    ('{"a": 1}\n{"b": 1}\n', "line 2 has the keys b, and the first a"),
    ('{"a": [1, 2]}\n{"a": [1]}\n', "'a' does not stack: sample 2"),
    ('{"a": {"b": 1}}\n', "'a' does not stack"),
    ('{"a": null}\n', "'a' does not stack"),
    ('{"a": [1]}\n{"a": [2]}\n{"a": [null]}\n', "'a' does not stack: sample 3"),
    ("[" * 100_000 + "\n", "line 1 is not JSON"),
])  # fmt: skip
def test_bad_json_lines_are_refused(loads: Loads, content: str, words: str) -> None:
    problem = refused(loads, JSONL, content)
    assert problem.code == "MS509"
    assert words in problem.message


PYTHON = Python(loader="data.py:load", params={"count": 2})


def test_user_code_returns_arrays(loads: Loads) -> None:
    assert loads(PYTHON, "def load(count): return {'x': [[1.0]] * count}")["x"].tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize(("content", "code", "words"), [
    ("def load(count):\n    return 1 / 0\n", "MS517", "data.py:2: ZeroDivisionError"),
    ("def load(count):\n    return [1]\n", "MS517", "returned list, not a mapping"),
    ("def load(count):\n    return {'x': [object()]}\n", "MS517", "Python objects"),
    ("def load(:\n", "MS517", "data.py:1: SyntaxError"),
    ("import no_such_module\n", "MS517", "data.py:1: ModuleNotFoundError"),
    ("x = 1\n", "MS324", "no callable 'load'"),
    ("def load(size):\n    return {}\n", "MS517", "does not take these params: missing a required argument: 'size'"),
    ("def load(count):\n    return {'x': [[1], [1, 2]]}\n", "MS517", "rows of different lengths"),
    ("def load(count):\n    return open(__file__[:-7] + 'table.csv')\n", "MS517", "No such file or directory: 'table.csv'"),
])  # fmt: skip
def test_user_code_that_fails_is_told_with_its_line(loads: Loads, content: str, code: str, words: str) -> None:
    problem = refused(loads, PYTHON, content)
    assert problem.code == code
    assert words in problem.message


def test_a_file_that_user_code_reads_is_to_be_declared(loads: Loads) -> None:
    content = "def load(count):\n    return open(__file__[:-7] + 'table.csv')\n"
    assert 'source: code: ["*.py", "table.csv"]' in refused(loads, PYTHON, content).help


def test_a_sample_is_the_first_rows(tmp_path: Path, run_stage: Any) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    npz.write(folder / "data.npz", {"x": np.arange(40), "y": np.arange(40)})
    (folder / "data.json").write_text('{"labels": "y", "rows": 40}')
    job: Job = run_stage(Sample(rows=3), {"data": folder})
    assert npz.read(job.output("sample") / "data.npz")["x"].tolist() == [0, 1, 2]
    assert json.loads((job.output("sample") / "data.json").read_text()) == {"labels": "y", "rows": 3}
