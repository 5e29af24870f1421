"""Who may call: API keys, kept as hashes in a file, and the TLS settings with client certificates.

A key is 32 random bytes, so that one fast hash is enough. `python -m modelspec.runtime.auth NAME` makes one.
"""

import hashlib
import hmac
import re
import secrets
import ssl
import sys
from dataclasses import dataclass

from modelspec.runtime.errors import ENVIRONMENT, USAGE, RequestError, ServeError
from modelspec.runtime.references import Reference
from modelspec.runtime.settings import Settings

ROLES = ("infer", "metrics")
"""`infer`: everything of the model; `metrics`: the figures."""

_LINE = re.compile(rb"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]{0,63}) (?P<hash>[0-9a-f]{64})(?P<roles>( [a-z]+)*)")


@dataclass(frozen=True)
class Key:
    """One line of the file: `name sha256 [role ...]`."""

    name: str
    hash: bytes
    roles: frozenset[str]


class Keys:
    """All who may call."""

    def __init__(self, keys: tuple[Key, ...]) -> None:
        self._keys = keys

    @classmethod
    def read(cls, place: Reference) -> "Keys":
        """From where they lie. Raises ServeError when a line is not as it should be; what it holds is not said."""
        try:
            content = place.read()
        except ServeError as error:
            raise ServeError(f"the keys: {error}; --api-keys FILE names another place", error.exit) from error
        keys = []
        for number, line in enumerate(content.splitlines(), 1):
            if not line.strip() or line.startswith(b"#"):
                continue
            match = _LINE.fullmatch(line.rstrip())
            roles = frozenset(match["roles"].decode().split() or ROLES) if match else frozenset()
            if not match or not roles <= set(ROLES):
                raise ServeError(f"{place}, line {number}: expected `name sha256-in-hex [infer] [metrics]`", USAGE)
            keys.append(Key(match["name"].decode(), bytes.fromhex(match["hash"].decode()), roles))
        if not keys or len({key.name for key in keys}) != len(keys):
            raise ServeError(f"{place} holds no keys, or two of one name", USAGE)
        return cls(tuple(keys))

    def caller(self, authorization: str | None, role: str) -> str:
        """The name of the key. Raises RequestError: 401 for no key of the file, 403 for one that may not do this."""
        scheme, _, token = (authorization or "").partition(" ")
        given = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        found = None
        for key in self._keys:  # all of them, whichever it is
            if hmac.compare_digest(key.hash, given):
                found = key
        if found is None or scheme.lower() != "bearer":
            raise RequestError(401, "a key is needed: Authorization: Bearer <key>", {"www-authenticate": "Bearer"})
        if role not in found.roles:
            raise RequestError(403, f"this key may not do this: it lacks {role!r}")
        return found.name


def tls(settings: Settings) -> ssl.SSLContext | None:
    """The context, or None for plain HTTP. Raises ServeError when the files do not serve."""
    if not settings.tls_cert:
        if settings.tls_key or settings.tls_client_ca:
            raise ServeError("--tls-key and --tls-client-ca need --tls-cert", USAGE)
        return None
    files = {each for each in (settings.tls_cert, settings.tls_key, settings.tls_client_ca) if each}
    for each in files:
        if not each.path:
            raise ServeError(f"{each} cannot hold a certificate: TLS reads files", USAGE)
        each.read()  # says which of them is missing
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(
            settings.tls_cert.path, settings.tls_key.path if settings.tls_key else None, password=""
        )  # a prompt would wait for ever
        if settings.tls_client_ca:
            context.load_verify_locations(settings.tls_client_ca.path)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:
        raise ServeError(f"the certificates cannot be loaded: {error.strerror or error}", ENVIRONMENT) from error
    return context


def main() -> int:
    """Print a new key, and the line for the file."""
    if len(sys.argv) < 2 or not _LINE.fullmatch(f"{' '.join([sys.argv[1], '0' * 64, *sys.argv[2:]])}".encode()):
        sys.stderr.write("usage: python -m modelspec.runtime.auth NAME [infer] [metrics]\n")
        return USAGE
    key = secrets.token_urlsafe(32)
    line = " ".join([sys.argv[1], hashlib.sha256(key.encode()).hexdigest(), *sys.argv[2:]])
    sys.stdout.write(f"key (shown once): {key}\nline of the file: {line}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
