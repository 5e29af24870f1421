"""What a registry is shown when it asks who is there: a password, or a token got for it."""

import json
import re
from collections.abc import Callable
from urllib.parse import urlencode, urlsplit

from modelspec.errors import ModelspecError, fail
from modelspec.oci.credentials import Credentials
from modelspec.oci.transport import Transport
from modelspec.web import is_loopback

_CHALLENGE = re.compile(r"^\s*(?P<scheme>[A-Za-z]+)\s*(?P<rest>.*)$", re.DOTALL)
_PARAMETER = re.compile(r'([A-Za-z_]+)="([^"]*)"')
_LARGEST_TOKEN = 1 << 20


class Access:
    """The Authorization header for each scope of one registry. Nothing of it is kept on disk."""

    def __init__(self, transport: Transport, lookup: Callable[[str], Credentials | None]) -> None:
        self._transport, self._lookup = transport, lookup
        self._host = transport.host
        self._credentials: Credentials | None = None
        self._looked = False
        self._headers: dict[str, str] = {}
        self._basic = ""

    def header(self, scope: str) -> str:
        """What is known to open `scope`; empty before the registry asked."""
        return self._basic or self._headers.get(scope, "")

    def challenged(self, answer: str, scope: str) -> None:
        """Get what the registry asks for in `WWW-Authenticate`. Raises MS411."""
        tried = self.header(scope)
        found = _CHALLENGE.match(answer)
        scheme = found["scheme"].lower() if found else ""
        if scheme == "basic":
            known = self._known()
            if known is None or not known.user:
                raise self.refused("it asks for a user and a password")
            if tried == known.basic:
                raise self.refused(f"it does not accept the password of {known.user!r}")
            self._basic = known.basic
        elif scheme == "bearer":
            assert found is not None
            self._headers[scope] = "Bearer " + self._token(dict(_PARAMETER.findall(found["rest"])), scope)
        else:
            raise self.refused(f"it asks for {scheme or 'nothing known'!r} instead of a password or a token")

    def refused(self, reason: str) -> ModelspecError:
        """The registry lets nobody in, for `reason`."""
        fix = f"docker login {self._host}"
        return fail("MS411", f"the registry {self._host} refuses access: {reason}", help=fix)

    def _known(self) -> Credentials | None:
        if not self._looked:
            self._credentials, self._looked = self._lookup(self._host), True
        return self._credentials

    def _token(self, challenge: dict[str, str], scope: str) -> str:
        realm = challenge.get("realm", "")
        parts = urlsplit(realm)
        local = is_loopback(self._host) and is_loopback(parts.netloc)
        if parts.scheme != "https" and not (parts.scheme == "http" and local):
            raise fail("MS661", f"the registry {self._host} wants its password sent to {parts.netloc[:80]!r} without TLS",
                       help="tell who runs the registry; nothing was sent")  # fmt: skip
        scopes = (scope or challenge.get("scope", "")).split()  # ours names all that is wanted, always in one order
        asked = [("service", challenge["service"])] if challenge.get("service") else []
        return self._transport.persist("a token", lambda: self._asked(realm, [*asked, *(("scope", s) for s in scopes)]))

    def _asked(self, realm: str, query: list[tuple[str, str]]) -> str:
        known = self._known()
        if known is not None and known.identity:
            form = [("grant_type", "refresh_token"), ("refresh_token", known.identity), ("client_id", "modelspec")]
            scopes = " ".join(value for key, value in query if key == "scope")  # one field here, by RFC 6749
            form += [*(pair for pair in query if pair[0] != "scope"), ("scope", scopes)]
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = self._transport.send("POST", realm, headers, urlencode(form).encode())
        else:
            url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
            answer = self._transport.send("GET", url, {}, authorization=known.basic if known else "")
        with answer:
            if answer.status != 200:
                who = f"the password of {known.user or 'this user'!r}" if known else "a request without a password"
                raise self.refused(f"{urlsplit(realm).netloc} does not accept {who} ({answer.status})")
            body = self._transport.whole(answer, _LARGEST_TOKEN)
        try:
            value = json.loads(body)
            token = value.get("token") or value.get("access_token")
        except (ValueError, AttributeError):
            token = None
        # What is no single word would end the header and begin another.
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise self.refused(f"{urlsplit(realm).netloc} gives no token")
        return token
