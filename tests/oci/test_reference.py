"""Names of images: read as Docker reads them, and nothing else is read at all."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelspec.errors import ModelspecError
from modelspec.oci.reference import Reference, parse

HEX = "0123456789abcdef" * 4

KNOWN = {
    "python": "docker.io/library/python",
    "python:3.12-slim": "docker.io/library/python:3.12-slim",
    "nginx/unit:1": "docker.io/nginx/unit:1",
    "docker.io/python": "docker.io/library/python",
    "index.docker.io/a/b": "docker.io/a/b",
    "localhost/a": "localhost/a",
    "localhost:5000/a/b:1": "localhost:5000/a/b:1",
    "127.0.0.1:5000/a": "127.0.0.1:5000/a",
    "[::1]:5000/a": "[::1]:5000/a",
    "Registry/a": "Registry/a",
    "registry.example/vision/digits:1.0.0": "registry.example/vision/digits:1.0.0",
    f"registry.example/d:1@sha256:{HEX}": f"registry.example/d:1@sha256:{HEX}",
    f"d@sha256:{HEX}": f"docker.io/library/d@sha256:{HEX}",
    "a/b__c/d--e.f": "docker.io/a/b__c/d--e.f",
}

REFUSED = ["", ":", "@", "a:", "A", "a//b", "/a", "a/", "a b", "a\n", "a:1\n", "a/..", "a/../b", "../a", "a___b", "-a", "a-",
           "a@sha256:12", f"a@sha512:{HEX * 2}", f"a@sha256:{HEX.upper()}", "a:$(id)", "a:1;id", 'a"', "a:" + "t" * 129,
           "http://registry.example/a", "user:pass@registry.example/a", "registry.example:0/a", "registry.example:99999/a",
           "registry.example/" + "a" * 255, "a\u0130/b", "a:\u0661", "registry..example/a"]  # fmt: skip


@pytest.mark.parametrize("written", KNOWN)
def test_known(written: str) -> None:
    assert str(parse(written)) == KNOWN[written]


@pytest.mark.parametrize("written", REFUSED)
def test_refused(written: str) -> None:
    with pytest.raises(ModelspecError) as caught:
        parse(written)
    assert [problem.code for problem in caught.value.diagnostics] == ["MS353"]


COMPONENT = st.from_regex(r"[a-z0-9]+((\.|_|__|-)[a-z0-9]+)*", fullmatch=True).filter(lambda part: len(part) < 40)
HOST = st.sampled_from(["registry.example", "localhost:5000", "127.0.0.1:80", "a-b.example:443", "docker.io"])
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", fullmatch=True)
DIGEST = st.text("0123456789abcdef", min_size=64, max_size=64).map(lambda text: f"sha256:{text}")


@given(HOST, st.lists(COMPONENT, min_size=2, max_size=4), TAG | st.just(""), DIGEST | st.just(""))
def test_what_is_written_is_read_back(host: str, parts: list[str], tag: str, digest: str) -> None:
    reference = Reference(host, "/".join(parts), tag, digest)
    assert parse(str(reference)) == reference


@given(
    st.text(alphabet=string.printable + "é\u2028\0", max_size=60)
    | st.from_regex(r"[a-z/:@.\n$ ]{1,40}", fullmatch=True)
)
def test_whatever_is_read_holds_no_other_character(written: str) -> None:
    try:
        reference = parse(written)
    except ModelspecError as error:
        assert error.diagnostics[0].code == "MS353"  # noqa: PT017 - either outcome is right
        return
    assert re.fullmatch(r"[A-Za-z0-9._:/@\[\]-]+", str(reference))
    assert ".." not in reference.repository
    assert parse(str(reference)) == reference
