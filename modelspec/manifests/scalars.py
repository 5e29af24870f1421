"""Strings that Kubernetes takes only in one form: refused where they are written, not by a cluster at night."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator

from modelspec.options import refuse, text

_NAME = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_DOMAIN = rf"(?=.{{1,253}}$){_NAME}(?:\.{_NAME})*"


def _form(pattern: str, what: str, example: str) -> Any:
    """A string of one form; else MS360."""
    compiled = re.compile(pattern)

    def checked(value: str) -> str:
        if not compiled.fullmatch(value):
            raise refuse("MS360", f"{value!r} is not {what}", f"for example: {example}")
        return value

    return (AfterValidator(checked), text(f"^{pattern}$"))


DnsLabel = Annotated[str, *_form(_NAME, "a name of lower-case letters, digits and dashes", "vision")]
"""The name of a namespace or a service."""
DnsName = Annotated[str, *_form(_DOMAIN, "a name of Kubernetes, or a domain", "digits.example.com")]
"""The name of most objects, and a host."""
LabelKey = Annotated[
    str, *_form(rf"(?:{_DOMAIN.replace('$', '/')}/)?{_LABEL}", "the key of a label", "example.com/team")
]
LabelValue = Annotated[str, *_form(rf"(?:{_LABEL})?", "the value of a label", "vision")]
Cpu = Annotated[
    str, *_form(r"(?:[1-9][0-9]{0,5}m|[1-9][0-9]{0,3}(?:\.[0-9]{1,3})?|0\.(?!0+$)[0-9]{1,3})", "a share of processors", '"2", or "500m" for half of one')
]  # fmt: skip
"""Processors, as Kubernetes counts them."""
ImageReference = Annotated[
    str, *_form(r"[a-z0-9][a-z0-9._/:-]{0,254}@sha256:[0-9a-f]{64}", "an image by its digest", "registry.example/digits@sha256:<64 hex>")
]  # fmt: skip
Address = Annotated[
    str, *_form(rf"(?=.{{1,259}}$)(?:{_NAME}(?:\.{_NAME})*|\[[0-9a-f:]+\]):[1-9][0-9]{{0,4}}", "host:port", "10.0.0.7:8080")
]  # fmt: skip
FilePath = Annotated[
    str, *_form(r"/(?!.*/\.\.(?:/|$))[A-Za-z0-9._/-]{1,1022}", "an absolute path of plain letters", "/etc/tls/tls.crt")
]


def kubernetes_size(size: int) -> str:
    """Bytes in the unit that says them shortest: 512Mi."""
    for unit, amount in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if size % amount == 0:
            return f"{size // amount}{unit}"
    return str(size)
