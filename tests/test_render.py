"""Templates: undefined names are errors, and no value becomes anything but a value."""

import json
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from jinja2.exceptions import SecurityError

from modelspec import render as module
from modelspec import resources
from modelspec.render import render


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(resources, "folder", lambda name: tmp_path)
    module._environment.cache_clear()
    return tmp_path


def test_yaml_values_are_json(templates: Path) -> None:
    (templates / "a.yaml.j2").write_text("name: {{ name }}\nlist: {{ items }}\n")
    text = render("a.yaml.j2", name='x"\nadmin: true', items=[1, "é"])
    assert text == f'name: {json.dumps("x" + chr(34) + chr(10) + "admin: true")}\nlist: [1, "é"]\n'


def test_markdown_values_are_text(templates: Path) -> None:
    (templates / "a.md.j2").write_text("# {{ name }}\n")
    assert render("a.md.j2", name="[x](http://y)\n# z") == "# \\[x\\](http://y) \\# z\n"


@pytest.mark.parametrize("name", ["a.yaml.j2", "a.md.j2"])
def test_undefined_is_an_error(templates: Path, name: str) -> None:
    (templates / name).write_text("{{ missing }}")
    with pytest.raises(UndefinedError, match="missing"):
        render(name)


def test_sandboxed(templates: Path) -> None:
    (templates / "a.md.j2").write_text("{{ x.__class__.__mro__ }}")
    with pytest.raises(SecurityError):
        render("a.md.j2", x="")


def test_other_formats_have_no_rule_yet(templates: Path) -> None:
    (templates / "a.txt.j2").write_text("{{ x }}")
    with pytest.raises(ValueError, match="no rule"):
        render("a.txt.j2", x="y")
