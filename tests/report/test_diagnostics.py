"""Diagnostics in every format: carets under the right columns, and data that its readers accept."""

import json
from pathlib import Path

import jsonschema
import pytest
from rich.cells import cell_len

from modelspec.errors import Diagnostic, Span
from modelspec.report.diagnostics import FORMATS, relative, render
from modelspec.report.human import width

LINES = (
    "name: digits",
    "targets:",
    "  - {device: cpuu}   # here",
    "x" * 400 + "here",
    "説明: 手書き数字",
    "",
    "a\tb: c",
)
PROBLEM = Diagnostic(
    "MS203", "'cpuu' is not allowed", help="did you mean 'cpu'?", label="expected one of cpu", why="because",
    file="model.yaml", span=Span(3, 14, 3, 18), also=((Span(1, 7, 1, 13), "the model"),), path=("targets", 0, "device"),
)  # fmt: skip


def human(problem: Diagnostic, color: bool = False) -> list[str]:
    return render([problem], "human", color=color, sources={"model.yaml": LINES}).splitlines()


def test_human_is_exactly_this() -> None:
    assert human(PROBLEM) == [
        "error[MS203]: 'cpuu' is not allowed",
        " --> model.yaml:3:14",
        "  |",
        "1 | name: digits",
        "  |       ------ the model",
        "2 | targets:",
        "3 |   - {device: cpuu}   # here",
        "  |              ^^^^ expected one of cpu",
        "  = why: because",
        "  = help: did you mean 'cpu'?",
        "  = docs: modelspec explain MS203",
    ]


def test_carets_stand_below_wide_characters() -> None:
    rows = human(Diagnostic("MS201", "m", file="model.yaml", span=Span(5, 5, 5, 10)))
    excerpt, carets = rows[3], rows[4]
    assert width(carets[: carets.index("^")]) == width(excerpt[: excerpt.index("手")])
    assert carets.count("^") == width("手書き数字")


def test_long_lines_are_cut_around_the_mark() -> None:
    rows = human(Diagnostic("MS201", "m", file="model.yaml", span=Span(4, 401, 4, 405)))
    assert max(map(len, rows)) < 160
    assert rows[3].index("here") == rows[4].index("^^^^")


def test_two_marks_far_apart_on_one_line_show_it_twice() -> None:
    problem = Diagnostic(
        "MS102", "m", file="model.yaml", span=Span(4, 401, 4, 405), also=((Span(4, 1, 4, 4), "first"),)
    )
    rows = human(problem)
    assert rows[4].index("---") == rows[3].index("xxx")
    assert rows[5].index("here") == rows[6].index("^^^^")


def test_carets_stand_below_what_is_shown() -> None:
    line = "\u3000\u0378\u1112\u1161\u00a0\u200de\u0301: here"
    problem = Diagnostic("MS201", "m", file="model.yaml", span=Span(1, 11, 1, 15))
    assert line[10:14] == "here"
    rows = render([problem], "human", sources={"model.yaml": (line,)}).splitlines()
    assert cell_len(rows[4][: rows[4].index("^")]) == cell_len(rows[3][: rows[3].index("here")])


@pytest.mark.parametrize("format_", FORMATS)
def test_long_messages_are_cut(format_: str) -> None:
    assert len(render([Diagnostic("MS201", "m" * 100_000, help="h" * 100_000)], format_)) < 5000


def test_a_position_beyond_the_file_is_no_crash() -> None:
    for span in (Span(99, 1, 99, 2), Span(6, 1, 6, 1), Span(1, 80, 1, 90), Span(0, 0, 0, 0)):
        assert human(Diagnostic("MS101", "m", file="model.yaml", span=span))


def test_control_characters_do_not_reach_the_terminal() -> None:
    text = "\n".join(human(Diagnostic("MS104", "a \x1b[31m\u202e", file="model.yaml", span=Span(7, 1, 7, 2))))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\t" not in text


def test_color_changes_nothing_but_color() -> None:
    import re

    plain = "\n".join(human(PROBLEM))
    assert re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(human(PROBLEM, color=True))) == plain


def test_concise() -> None:
    assert render([PROBLEM], "concise") == "model.yaml:3:14: MS203 'cpuu' is not allowed (did you mean 'cpu'?)"


def test_github_escapes() -> None:
    problem = Diagnostic("MS203", "50%\r\nof: a, b", file="a,b:c%.yaml", span=Span(1, 2, 1, 5))
    assert render([problem], "github") == (
        "::error file=a%2Cb%3Ac%25.yaml,line=1,col=2,endColumn=4,title=modelspec MS203::50%25%0D%0Aof: a, b"
    )


def test_json_holds_every_field() -> None:
    (found,) = json.loads(render([PROBLEM], "json"))["diagnostics"]
    assert found["span"] == {"line": 3, "column": 14, "endLine": 3, "endColumn": 18}
    assert found["path"] == ["targets", 0, "device"]
    assert found["related"][0]["message"] == "the model"


def test_sarif_is_valid() -> None:
    schema = Path(__file__).parents[3] / "shared" / "reference" / "schemas" / "sarif-2.1.0.schema.json"
    if not schema.is_file():
        pytest.skip("the SARIF schema is not beside this checkout")
    log = json.loads(render([PROBLEM, Diagnostic("MS322", "no model.yaml")], "sarif"))
    jsonschema.validate(log, json.loads(schema.read_text(encoding="utf-8")))
    assert log["runs"][0]["columnKind"] == "unicodeCodePoints"
    assert log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"]["startColumn"] == 14


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_takes_a_problem_without_a_place(format_: str) -> None:
    assert "MS322" in render([Diagnostic("MS322", "no model.yaml")], format_)


def test_files_are_named_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert relative(str(tmp_path / "a" / "model.yaml")) == "a/model.yaml"
    assert relative(str(tmp_path.parent / "model.yaml")) == (tmp_path.parent / "model.yaml").as_posix()
    assert relative("") == ""
