"""The client against a registry that gives tokens, and against servers that do what registries do wrong."""

import json
from pathlib import Path

import pytest

from modelspec import digest
from modelspec.errors import ModelspecError
from modelspec.oci.credentials import Credentials
from modelspec.oci.descriptor import DOCKER_INDEX, OCI_INDEX, OCI_MANIFEST, Descriptor
from modelspec.oci.pull import pull
from modelspec.oci.push import Item, manifests, push
from modelspec.oci.reference import Reference, parse
from modelspec.oci.registry import Registry
from tests.oci import layouts, services
from tests.oci.scripted import Answer, Asked, Scripted, Tokens, serving

CANARY = "c4nary-of-a-registry"
KNOWN = Credentials("alice", CANARY)
HEX = "0123456789abcdef" * 4


def refused(code: str, server: Scripted, name: str = "a/b:1", platform: str = "") -> str:
    registry = Registry(server.host, lookup=lambda _: KNOWN)
    with pytest.raises(ModelspecError) as caught:
        registry.resolve(parse(f"{server.host}/{name}"), platform)
    (problem,) = caught.value.diagnostics
    assert problem.code == code, problem
    assert CANARY not in str(problem)
    return problem.message


def item(layout: Path, name: Reference) -> Item:
    return Item(layout, manifests(layout)[0], name)


def manifest(**more: object) -> bytes:
    entry = {"mediaType": "x", "digest": f"sha256:{HEX}", "size": 1}
    return json.dumps({"schemaVersion": 2, "config": entry, "layers": [entry], **more}).encode()


def give(body: bytes, media_type: str = OCI_MANIFEST, **headers: str) -> Answer:
    return 200, {"Content-Type": media_type, **{name.replace("_", "-"): value for name, value in headers.items()}}, body


def test_a_registry_that_wants_tokens(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path, KNOWN.user, CANARY)
    digests = [layouts.write(tmp_path / "base")]
    with serving(tokens.answer) as server:
        token = {"realm": f"http://{server.host}/token", "rootcertbundle": str(tokens.bundle)}
        with services.registry_in(tmp_path, token=token) as host:
            registry = Registry(host, lookup=lambda _: KNOWN)
            base = parse(f"{host}/library/base:1")
            push([item(tmp_path / "base", base)], lambda _: registry, lambda *_: None, replace=False)
            digests.append(layouts.write(tmp_path / "new", seed=1, base=str(base)))
            told: list[str | None] = []
            name = parse(f"{host}/a/new:1")
            push([item(tmp_path / "new", name)], lambda _: registry, lambda _, done: told.append(done), replace=False)
            assert "mounted" in told
            reader = Registry(host, lookup=lambda _: KNOWN)
            assert pull(reader, name, "linux/amd64", tmp_path / "back", lambda *_: None).digest == digests[1]
            assert ["repository:a/new:pull,push", "repository:library/base:pull"] in tokens.given, tokens.given
            asked = {scope for scopes in tokens.given for scope in scopes}
            assert asked == {
                f"repository:{name}:{actions}"
                for name in ("a/new", "library/base")
                for actions in ("pull", "pull,push")
            }
            with pytest.raises(ModelspecError) as caught:
                Registry(host, lookup=lambda _: Credentials("alice", "wrong")).resolve(name)
    assert caught.value.diagnostics[0].code == "MS411"
    assert host in str(caught.value)


def test_a_token_that_expired_is_asked_for_again() -> None:
    count = 0

    def answer(asked: Asked) -> Answer:
        nonlocal count
        if asked.path.startswith("/token"):
            count += 1
            return 200, {}, json.dumps({"access_token": f"t{count}"}).encode()
        if asked.headers.get("Authorization") != "Bearer t2":
            return 401, {"WWW-Authenticate": f'Bearer realm="http://{server.host}/token",service="s"'}, b""
        return give(manifest())

    with serving(answer) as server:
        registry = Registry(server.host, lookup=lambda _: None)
        assert registry.resolve(parse(f"{server.host}/a:1")).digest == f"sha256:{digest.of_bytes(manifest())}"


def test_a_password_stays_with_its_registry(tmp_path: Path) -> None:
    data = b"blob" * 1000
    with serving(lambda _: (200, {}, data)) as other:

        def answer(asked: Asked) -> Answer:
            if "Authorization" not in asked.headers:
                return 401, {"WWW-Authenticate": 'Basic realm="x"'}, b""
            return 307, {"Location": f"http://{other.host}/elsewhere?signature={CANARY}"}, b""

        with serving(answer) as server:
            registry = Registry(server.host, lookup=lambda _: KNOWN)
            blob = Descriptor("x", f"sha256:{digest.of_bytes(data)}", len(data))
            registry.pull_blob("a/b", blob, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == data
    assert [asked.headers.get("Authorization") for asked in other.asked] == [None]


def test_a_password_is_not_sent_to_a_realm_without_tls() -> None:
    challenge = {"WWW-Authenticate": 'Bearer realm="http://192.0.2.1/token",service="s"'}
    with serving(lambda _: (401, challenge, b"")) as server:
        assert "without TLS" in refused("MS661", server)


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX-Other: 1", None, 5, ["a"]])
def test_what_is_no_token(token: object) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.path.startswith("/token"):
            return 200, {}, json.dumps({"token": token}).encode()
        return 401, {"WWW-Authenticate": f'Bearer realm="http://{server.host}/token"'}, b""

    with serving(answer) as server:
        refused("MS411", server)


@pytest.mark.parametrize("challenge", ["", "Negotiate", "Basic", "Bearer", 'Bearer realm=""', "Basic " * 1000])
def test_odd_challenges(challenge: str) -> None:
    with serving(lambda _: (401, {"WWW-Authenticate": challenge}, b"")) as server:
        refused("MS661" if challenge.startswith("Bearer") else "MS411", server)


def test_other_bytes_are_refused_and_not_kept(tmp_path: Path) -> None:
    with serving(lambda _: give(manifest())) as server:
        assert HEX in refused("MS653", server, f"a/b@sha256:{HEX}")
        registry = Registry(server.host, lookup=lambda _: None)
        for size in (3, 7, len(manifest())):
            with pytest.raises(ModelspecError) as caught:
                registry.pull_blob("a", Descriptor("x", f"sha256:{HEX}", size), tmp_path / "blob")
            assert caught.value.diagnostics[0].code == "MS653"
            assert list(tmp_path.iterdir()) == []
    with serving(lambda _: give(manifest(), Docker_Content_Digest=f"sha256:{HEX}")) as server:
        refused("MS653", server)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"<html>", b"\xff", b"[" * 100_000, b'{"schemaVersion": 1}',
                                  b'{"schemaVersion": 2, "mediaType": "text/html"}'])  # fmt: skip
def test_what_is_no_manifest_is_refused(body: bytes) -> None:
    with serving(lambda _: give(body, "application/json")) as server:
        refused("MS655", server)


@pytest.mark.parametrize("entry", [{}, {"digest": "sha256:x", "size": 1}, {"digest": f"sha256:{HEX}", "size": -1},
                                   {"digest": f"sha256:{HEX}", "size": True}, {"digest": "sha256:../../x", "size": 1}, 5, None])  # fmt: skip
def test_a_descriptor_that_is_none_is_refused(entry: object, tmp_path: Path) -> None:
    with serving(lambda _: give(manifest(layers=[entry]))) as server:
        with pytest.raises(ModelspecError) as caught:
            pull(
                Registry(server.host, lookup=lambda _: None),
                parse(f"{server.host}/a"),
                "",
                tmp_path / "x",
                lambda *_: None,
            )
        assert caught.value.diagnostics[0].code == "MS655"
    assert list(tmp_path.iterdir()) == []


def test_what_could_be_read_in_two_ways_is_refused() -> None:
    with serving(lambda _: give(manifest(manifests=[]))) as server:
        refused("MS661", server)
    with serving(lambda _: give(manifest(mediaType=OCI_MANIFEST), OCI_INDEX)) as server:
        refused("MS661", server)
    with serving(lambda _: give(b" " * (5 << 20))) as server:
        assert "more than 4 MiB" in refused("MS661", server)


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_INDEX])
def test_of_several_platforms_the_one_that_is_wanted(media_type: str) -> None:
    def entry(number: int, architecture: str, variant: str = "") -> dict[str, object]:
        platform = {"os": "linux", "architecture": architecture} | ({"variant": variant} if variant else {})
        return {"mediaType": OCI_MANIFEST, "digest": f"sha256:{number:064x}", "size": 1, "platform": platform}

    entries = [entry(1, "unknown"), entry(2, "arm", "v7"), entry(3, "amd64"), entry(4, "arm64", "v8")]
    body = json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}).encode()
    with serving(lambda _: give(body, media_type)) as server:
        registry = Registry(server.host, lookup=lambda _: None)
        name = parse(f"{server.host}/a:1")
        assert registry.resolve(name, "linux/amd64").digest.endswith("3")
        assert registry.resolve(name, "linux/arm64").digest.endswith("4")
        assert registry.resolve(name).media_type == media_type
        assert "linux/s390x" in refused("MS355", server, "a:1", "linux/s390x")


def test_the_words_of_an_error_are_not_repeated() -> None:
    body = json.dumps({"errors": [{"code": "DENIED", "message": f"no: {CANARY}"}, {"code": "x y"}]}).encode()
    with serving(lambda _: (403, {}, body)) as server:
        assert "DENIED" in refused("MS411", server)


def test_no_wait_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda _: (429, {"Retry-After": "3600"}, b"")) as server:
        registry = Registry(server.host, lookup=lambda _: None, timeout_s=1)
        with pytest.raises(ModelspecError, match="did not finish within 1 s"):
            registry.resolve(parse(f"{server.host}/a:1"))
