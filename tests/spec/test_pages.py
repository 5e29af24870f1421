"""Every code has a page whose example fails with that code, and whose fixed example does not."""

from pathlib import Path

import pytest

from modelspec import resources
from modelspec.errors import CODES, ModelspecError
from modelspec.report.pages import read
from modelspec.spec.load import load

SPEC_CODES = [code for code in CODES if code < "MS400" or code == "MS611"]


@pytest.mark.parametrize("code", CODES)
def test_page_is_complete(code: str) -> None:
    page = read(code)
    assert page.text.startswith(f"# {code}: {CODES[code][1]}\n\n")
    for heading in ("Fails", "Fixed"):
        example = page.example(heading)
        assert example is not None
        assert example.language in {"yaml", "console"}
    assert page.examples("Fails") != page.examples("Fixed")
    text = page.as_text(80)
    assert "```" not in text
    assert str(int(CODES[code][0])) in text.splitlines()[-1]


def test_no_page_is_left_over() -> None:
    assert {path.stem for path in (resources.folder("templates") / "errors").glob("*.md")} == set(CODES)


def found(text: str, project: Path) -> list[str]:
    (project / "model.yaml").write_text(text, encoding="utf-8")
    try:
        return [problem.code for problem in load(project / "model.yaml").warnings]
    except ModelspecError as error:
        return [problem.code for problem in error.diagnostics]


@pytest.mark.parametrize("code", SPEC_CODES)
def test_examples_do_what_they_say(code: str, project: Path) -> None:
    page = read(code)
    fails, fixed = page.example("Fails"), page.example("Fixed")
    assert fails is not None
    assert fixed is not None
    if fails.language == "console":
        assert code in {"MS109", "MS322", "MS325", "MS353", "MS354", "MS355", "MS366"}, (
            "shown by a command; see tests/cli, tests/build and tests/oci"
        )
        return
    assert found(fails.text, project) == [code]
    assert found(fixed.text, project) == []
