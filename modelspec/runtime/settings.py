"""Everything an operator can set. The fields are the options of the command line, here and in `modelspec serve`."""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from modelspec.runtime.references import Reference


def _option(default: Any, help: str, minimum: float | None = None, maximum: float | None = None) -> Any:
    return field(default=default, metadata={"help": help, "minimum": minimum, "maximum": maximum})


def _secret(help: str) -> dict[str, Any]:
    return {"help": help, "minimum": None, "maximum": None, "kind": Reference}


@dataclass(frozen=True)
class Settings:
    """How the server runs; what the model is comes from the published files."""

    folder: Path
    name: str = _option("", "Name of the model. Default: from where the folder lies.")
    version: str = _option("", "Version of the model. Default: from where the folder lies.")
    host: str = _option("127.0.0.1", "Address to listen on; 0.0.0.0 for all. Default: 127.0.0.1.")
    port: int = _option(8080, "Port to listen on; 0 takes a free one.", 0, 65535)
    grpc_port: int = _option(-1, "Port for gRPC; 0 takes a free one, -1 offers none.", -1, 65535)
    threads: int = _option(0, "Threads of one run of the model; 0 leaves it to the published file.", 0, 1024)
    parallel: int = _option(0, "Runs of the model at one time; 0 gives each its threads and fills the cores.", 0, 1024)
    max_body: int = _option(8 << 20, "Bytes of one request.", 1)
    max_headers: int = _option(32 << 10, "Bytes of the headers of one request.", 256)
    max_elements: int = _option(4 << 20, "Elements of all tensors of one request.", 1)
    max_text: int = _option(64 << 10, "Characters of one text.", 1)
    max_connections: int = _option(1024, "Connections at one time; further ones are closed.", 1)
    max_requests: int = _option(256, "Requests at one time, those being received included.", 1)
    queue: int = _option(128, "Requests that may wait for the model; further ones get 503.", 0)
    batch_size: int = _option(
        1,
        "Rows up to which requests are joined into one run; 1 joins none. A model quantized dynamically answers a "
        "little differently in company.",
        1,
    )
    batch_delay: float = _option(0.002, "Seconds that a request waits for others, with --batch-size.", 0, 10)
    header_timeout: float = _option(10.0, "Seconds for the headers of a request, and the TLS handshake.", 0.1)
    body_timeout: float = _option(30.0, "Seconds for the body of a request.", 0.1)
    write_timeout: float = _option(30.0, "Seconds in which a client must take something of its answer.", 0.1)
    idle_timeout: int = _option(75, "Seconds that a connection may lie idle.", 1)
    connection_age: int = _option(
        3600, "Seconds after which a connection of gRPC is asked to come anew, so that load spreads.", 1
    )
    request_timeout: float = _option(30.0, "Seconds in which the model must have answered.", 1e-9)
    drain_delay: float = _option(1.0, "Seconds after SIGTERM in which new requests are still taken.", 0)
    grace: float = _option(30.0, "Seconds after that for requests to finish.", 0.1)
    api_keys: Reference | None = field(
        default=None, metadata=_secret("File of those who may call: `name sha256-in-hex [infer] [metrics]` a line.")
    )
    tls_cert: Reference | None = field(default=None, metadata=_secret("File of the server's certificate, in PEM."))
    tls_key: Reference | None = field(
        default=None, metadata=_secret("File of its key, where --tls-cert does not hold it.")
    )
    tls_client_ca: Reference | None = field(
        default=None, metadata=_secret("File of the authorities whose clients may connect; others fail the handshake.")
    )
    audit: str = _option("", "File for the lines that say who called what. Default: stderr.")
    allow_nan: bool = _option(False, "Take inputs with NaN or infinity.")


class Option(NamedTuple):
    """One setting as an option of a command line."""

    field: str
    kind: type
    default: Any
    help: str
    minimum: float | None
    maximum: float | None

    @property
    def flag(self) -> str:
        """`--max-body`."""
        return f"--{self.field.replace('_', '-')}"

    @property
    def text(self) -> str:
        """Its help, with the default."""
        return self.help + (f" Default: {self.default:g}." if self.kind in {int, float} else "")

    def wrong(self, value: Any) -> str:
        """What is wrong with a value, in words; empty for nothing."""
        if value is self.default is None:
            return ""
        kinds = (int, float) if self.kind is float else (self.kind,)
        if type(value) not in kinds:
            return f"must be of the type {self.kind.__name__}"
        if (self.minimum is not None and not value >= self.minimum) or (
            self.maximum is not None and value > self.maximum
        ):
            upper = "" if self.maximum is None else f" and at most {self.maximum:g}"
            return f"must be at least {self.minimum:g}{upper}"
        return ""


def options() -> Iterator[Option]:
    """All settings but the folder."""
    for each in fields(Settings):
        if each.metadata:
            kind = each.metadata.get("kind", each.type)
            assert isinstance(kind, type)
            yield Option(each.name, kind, each.default, *(each.metadata[key] for key in ("help", "minimum", "maximum")))  # fmt: skip


def parse(arguments: Sequence[str]) -> Settings:
    """The settings: of the command line, else of runtime.json. Ends the program with 2 when either is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m modelspec.runtime", description="Serve a published model.", allow_abbrev=False
    )
    parser.add_argument("folder", type=Path, help="dist/<name>/<version>/<target>, or a copy of it.")
    for option in options():
        if option.kind is bool:
            parser.add_argument(option.flag, action="store_true", default=None, help=option.help)
        else:
            kind = Reference.file if option.kind is Reference else option.kind
            parser.add_argument(option.flag, type=kind, help=option.text)
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    known = {option.field: option for option in options()}
    found = _published(given["folder"])
    for name in [name for name in found if name in known and known[name].kind is Reference]:
        try:
            found[name] = Reference.parse(found[name])
        except ValueError as error:
            parser.error(f"{name}, in runtime.json, {error}")
    for name, value in (found | given).items():
        if name == "folder":
            continue
        wrong = known[name].wrong(value) if name in known else "is not known to this server"
        if wrong:
            parser.error(f"{name}, in runtime.json, {wrong}" if name not in given else f"{known[name].flag} {wrong}")
    return Settings(**(found | given))


def _published(folder: Path) -> dict[str, Any]:
    """What the build wrote for the server. A file that cannot be read is refused later, with the others."""
    try:
        found = json.loads((folder / "runtime.json").read_bytes()).get("serve", {})
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {"serve": found}
