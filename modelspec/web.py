"""HTTP as this project speaks it: certificates verified, proxies taken, redirections followed with care."""

import ipaddress
import ssl
from typing import IO, Any
from urllib import request
from urllib.error import HTTPError
from urllib.parse import urlsplit

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that may be others in a moment."""
_LONGEST_PAUSE_S = 30.0


def opener(*, proxies: bool = True) -> request.OpenerDirector:
    """For http and https alone; certificates are verified, also with those of SSL_CERT_FILE."""
    made = request.OpenerDirector()
    https = request.HTTPSHandler(context=ssl.create_default_context())
    for handler in (request.HTTPHandler(), https, _Redirects(), request.HTTPDefaultErrorHandler(),
                    request.HTTPErrorProcessor(), *([request.ProxyHandler()] if proxies else [])):  # fmt: skip
        made.add_handler(handler)
    return made


def pause(retry_after: str) -> float:
    """The seconds that a server asks to wait, within reason."""
    return min(float(retry_after), _LONGEST_PAUSE_S) if retry_after.isascii() and retry_after.isdigit() else 0.0


def shown(uri: str) -> str:
    """Without the query: some hold a key that opens the file for a while."""
    return urlsplit(uri)._replace(query="", fragment="").geturl()


def is_loopback(host: str) -> bool:
    """Whether `host` or `host:port` is this machine."""
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


class _Redirects(request.HTTPRedirectHandler):
    """Follows to http and https only, never from https to http, and never from elsewhere into this machine."""

    def redirect_request(self, req: request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str) -> request.Request | None:  # fmt: skip
        there = urlsplit(newurl)
        inward = is_loopback(there.netloc) and not is_loopback(req.host)
        if there.scheme not in {"http", "https"} or (req.type, there.scheme) == ("https", "http") or inward:
            raise HTTPError(req.full_url, code, f"a redirection to {shown(newurl)}, which is not followed", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
