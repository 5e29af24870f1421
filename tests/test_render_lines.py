"""Every line of a text knows its line of the template, and no value can pretend to be one."""

from pathlib import Path

import pytest

from modelspec.render import TemplateError, render_traced


def test_lines_of_loops(tmp_path: Path) -> None:
    (tmp_path / "a.yaml.j2").write_text(
        "a: 1\nb:\n  {% for x in xs %}\n  - {{ x }}\n    # x\n  {% endfor %}\nc: {{ c }}\n"
    )
    found = render_traced("a.yaml.j2", [tmp_path], {"xs": [1, 2], "c": "x\ny\ue0009\ue001"})
    assert found.text == 'a: 1\nb:\n  - 1\n    # x\n  - 2\n    # x\nc: "x\\ny\\ue0009\ue001"\n'
    assert found.lines[:-1] == (1, 2, 4, 5, 4, 5, 7)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: {{ missing }}\n", 2),
        ("a: 1\n\n{% for %}\n", 3),
        ("a: 1\n{% for x in [1] %}\nb: {{ x.y.z }}\n{% endfor %}\n", 3),
        ("a: {{ ''.__class__.__mro__ }}\n", 1),
        ("a:\n  b:\n    {{ 1 / 0 }}\n", 3),
        ("{% include '../secret.yaml.j2' %}\n", 1),
    ],
)
def test_an_error_has_its_line(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / "secret.yaml.j2").write_text("secret")
    folder = tmp_path / "templates"
    folder.mkdir()
    (folder / "a.yaml.j2").write_text(text)
    with pytest.raises(TemplateError) as caught:
        render_traced("a.yaml.j2", [folder], {})
    assert caught.value.line == line


def test_strings_of_protobuf_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "a.pbtxt.j2").write_text("name: {{ a }}\n")
    assert render_traced("a.pbtxt.j2", [tmp_path], {"a": 'é"\n'}).text == 'name: "\\303\\251\\042\\012"\n'


@pytest.mark.parametrize("value", ["a;b", "a b", "a\nb", "$x", "{", "", 'a"', "a#", True, None, ["a"]])
def test_what_nginx_would_read_as_its_own_is_refused(tmp_path: Path, value: object) -> None:
    (tmp_path / "a.conf.j2").write_text("listen {{ a }};\n")
    with pytest.raises(TemplateError):
        render_traced("a.conf.j2", [tmp_path], {"a": value})
