"""Trust in one file, by its digest: the only way to have a file loaded whose format can run code."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from modelspec import digest
from modelspec.errors import fail
from modelspec.options import refuse

_FORM = re.compile(r"^sha256:[0-9a-f]{64}$")


def _form(value: str) -> str:
    if not _FORM.match(value):
        raise refuse(
            "MS206",
            f"{value[:80]!r} is not a digest",
            "write sha256: and the 64 digits that sha256sum prints, in lower case",
        )
    return value


Trust = Annotated[str, AfterValidator(_form), Field(json_schema_extra={"pattern": _FORM.pattern})]
"""`sha256:<64 hex>`: the digest of a file that may run code when it is loaded."""


def require(path: Path, trust: str | None, *, why: str, instead: str, field: str) -> None:
    """Raises MS612 when nothing trusts the file, with the line that would; MS615 when another file is trusted."""
    found = f"sha256:{digest.of_file(path)}"
    if trust is None:
        raise fail(
            "MS612",
            f"{path.name} {why}, and loading it could run code",
            help=f'{instead}; or, if you trust whoever made it, add to source: trust: "{found}"',
            path=(field,),
        )
    if trust != found:
        raise fail(
            "MS615",
            f"{path.name} is not the file that is trusted: it is {found}",
            help="find out who changed it; trust the new digest only if you know",
            path=("trust",),
        )
