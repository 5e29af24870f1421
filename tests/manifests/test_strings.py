"""Whatever is written in a spec comes out as the same string, or is refused by the spec."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from modelspec.manifests.documents import as_yaml
from modelspec.manifests.options import Manifests
from modelspec.spec import yaml as strict
from tests.manifests.conftest import FULL, load, written

ALIKE = [
    "no", "yes", "on", "off", "y", "n", "Null", "~", "", " ", "true", "1e3", "0x1", "0o7", "017", "1_000", "1:30", "12:30:45",
    ".inf", ".nan", "-", "- a", "a: b", "a #b", "#", "&a", "*a", "!a", "|", ">", "%", "@", "`", "'", '"', "\\", "{{ x }}",
    "{% x %}", "${x}", "$(x)", "a\nb", "a\r\nb", "a\tb", "--- a", "...", "<<", "=", "2024-01-01", "é", "日本", "🙂", "\ue0001\ue001",
    "{", "}", "[", "]", ",", "? a", ": a", "a\n---\nkind: Secret\n", "x" * 300,
]  # fmt: skip
TEXT = st.one_of(
    st.sampled_from(ALIKE), st.text(max_size=40), st.lists(st.sampled_from(ALIKE), max_size=3).map("".join)
)


def through_the_spec(text: str) -> Any:
    """As model.yaml would give it; None where the reader refuses it."""
    document = strict.parse(f"value: {json.dumps(text)}\n".encode(errors="surrogatepass"))
    return None if document.problems or not document.complete else document.data["value"]


@given(TEXT)
def test_annotations_come_out_as_they_went_in(text: str) -> None:
    value = through_the_spec(text)
    if value is None:
        return
    with TemporaryDirectory() as folder:
        output = written(Path(folder), FULL | {"annotations": {"example.com/note": value}})
        seen = 0
        for path in output.rglob("*.yaml"):
            if "templates" in path.parts or "overlays" in path.parts or path.name == "scrape.yaml":
                continue
            found = _notes(load(path))
            seen += len(found)
            assert set(found) <= {value}, path
        assert seen > 10


def _notes(value: Any) -> list[Any]:
    if isinstance(value, dict):
        own = [value["example.com/note"]] if "example.com/note" in value else []
        return own + [note for item in value.values() for note in _notes(item)]
    return [note for item in value for note in _notes(item)] if isinstance(value, list) else []


FIELDS: dict[str, Any] = {
    "namespace": lambda text: {"namespace": text},
    "label": lambda text: {"labels": {"team": text}},
    "label key": lambda text: {"labels": {text: "x"}},
    "host": lambda text: {"ingress": FULL["ingress"] | {"host": text}},
    "class": lambda text: {"ingress": FULL["ingress"] | {"gateway_class": text}},
    "secret": lambda text: {"ingress": FULL["ingress"] | {"tls_secret": text}},
    "pull secret": lambda text: {"pull_secret": text},
    "peer": lambda text: {"network": {"allow_from": ({"namespace": text},)}},
    "peer label": lambda text: {"network": {"allow_from": ({"pods": {"app": text}},)}},
    "prometheus": lambda text: {"monitor": {"namespace": text, "token": {"secret": "a", "key": "b"}}},
    "token": lambda text: {"monitor": {"token": {"secret": "a", "key": text}}},
    "cpu": lambda text: {"resources": {"cpu": text}},
    "memory": lambda text: {"resources": {"memory": text}},
    "server": lambda text: {"nginx": {"servers": (text,)}},
    "proxy host": lambda text: {"nginx": {"servers": ("a:1",), "host": text}},
    "certificate": lambda text: {"nginx": {"servers": ("a:1",), "tls": {"certificate": text, "key": "/k"}}},
    "environment": lambda text: {"environments": {text: {"replicas": 3}}},
}


@given(st.sampled_from(list(FIELDS)), st.one_of(TEXT, st.from_regex(r"[A-Za-z0-9._/-]{1,12}", fullmatch=True)))
def test_other_strings_come_out_or_are_refused(field: str, text: str) -> None:
    value = through_the_spec(text)
    changed = FIELDS[field](text)
    if value is None:
        return
    try:
        Manifests.model_validate(FULL | changed)
    except ValidationError:
        return
    with TemporaryDirectory() as folder:
        output = written(Path(folder), FULL | changed)
        files = [path for path in output.rglob("*") if path.is_file() and "templates" not in path.parts]
        strings = {found for path in files for found in _strings(path)}
        assert field == "memory" or any(text in found for found in strings), (field, text)


def _strings(path: Path) -> set[str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix not in {".yaml", ".json"}:
        return {text}
    found: set[str] = {path.as_posix()}

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                assert isinstance(key, str)
                found.add(key)
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)
        elif isinstance(value, str):
            found.add(value)

    walk(yaml.safe_load(text))
    return found


@given(st.recursive(st.one_of(st.none(), st.booleans(), st.integers(-(2**40), 2**40), TEXT),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8))  # fmt: skip
def test_the_writer_and_two_readers_agree(value: Any) -> None:
    """Ours of YAML 1.2, and PyYAML's of 1.1, which take many a plain word for different things."""
    tree = {"root": value}
    text = as_yaml(tree)
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    assert yaml.load(text, Loader=yaml.SafeLoader) == tree
