"""Writes into runtime.json how the model is to be served; `modelspec serve` and the image start with it."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from modelspec.errors import fail
from modelspec.options import Duration, Options, Size, refuse
from modelspec.secret import FileReference, Reference
from modelspec.stage import Determinism, Job, Request, Stage

_LEAST_BODY = 1000


class Batching(Options):
    """Requests that wait together are run together."""

    max_size: int = Field(ge=2, le=65536, description="Rows up to which requests are joined.", examples=[16])
    max_delay: Duration = Field(
        "2ms", description="How long a request waits for others; at most 10s.", examples=["2ms"], validate_default=True
    )

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.max_delay > 10:
            raise refuse(
                "MS205", "max_delay is above 10s", "every request may wait so long: a few milliseconds are usual"
            )
        return self


class Auth(Options):
    """Who may call."""

    api_keys: Reference = Field(
        description="Where the keys lie: a line each, `name sha256-in-hex [infer] [metrics]`, as "
        "`python -m modelspec.runtime.auth NAME` makes them. The server does not start without them.",
        examples=[{"secret": "digits-keys", "key": "keys.txt"}],
    )


class Tls(Options):
    """HTTPS, and gRPC over TLS."""

    cert: FileReference = Field(
        description="The server's certificate and those up to its authority, in PEM.",
        examples=[{"secret": "digits-tls", "key": "tls.crt"}],
    )
    key: FileReference | None = Field(
        None,
        description="Its private key, where `cert` does not hold it.",
        examples=[{"secret": "digits-tls", "key": "tls.key"}],
    )
    client_ca: FileReference | None = Field(
        None,
        description="The authorities whose clients may connect; others fail the handshake.",
        examples=[{"secret": "digits-tls", "key": "ca.crt"}],
    )


class Serve(Stage):
    """runtime -> runtime with the settings of the server."""

    name: ClassVar[str] = "serve"
    summary: ClassVar[str] = "record how the server is to run the model"
    revision: ClassVar[int] = 1
    after: ClassVar[tuple[str, ...]] = ("compile", "package")
    takes: ClassVar[tuple[str, ...]] = ("runtime", "signature")
    gives: ClassVar[tuple[str, ...]] = ("runtime",)
    publishes: ClassVar[Mapping[str, str]] = {"runtime": ""}
    determinism: ClassVar[Determinism] = Determinism.EXACT

    port: int = Field(8080, ge=1, le=65535, description="Port to listen on.", examples=[8080])
    batching: Batching | None = Field(
        None,
        description="Joins requests along their first axis. A model quantized dynamically answers a little differently in company.",
        examples=[{"max_size": 16, "max_delay": "2ms"}],
    )
    threads: int | None = Field(None, ge=1, le=1024, description="Threads of one run of the model.", examples=[2])
    parallel: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="Runs of the model at one time. Default: as many as fill the cores.",
        examples=[1],
    )
    queue: int | None = Field(
        None, ge=0, description="Requests that may wait; further ones get 503. Default: 128.", examples=[64]
    )
    max_body: Size | None = Field(None, description="Size of one request, at most. Default: 8MiB.", examples=["1MiB"])
    request_timeout: Duration | None = Field(
        None, description="Time in which the model must have answered. Default: 30s.", examples=["5s"]
    )
    auth: Auth | None = Field(
        None,
        description="Who may call. Default: everyone who reaches the port.",
        examples=[{"api_keys": {"secret": "digits-keys", "key": "keys.txt"}}],
    )
    tls: Tls | None = Field(
        None,
        description="Certificates, for HTTPS. Default: plain HTTP.",
        examples=[
            {"cert": {"secret": "digits-tls", "key": "tls.crt"}, "key": {"secret": "digits-tls", "key": "tls.key"}}
        ],
    )
    memory_arena: bool = Field(
        True, description="Whether memory of a run is kept for the next; without it less is held.", examples=[False]
    )
    spinning: bool = Field(
        False,
        description="Whether idle threads spin: faster alone on a machine, slower beside others.",
        examples=[True],
    )

    @classmethod
    def configure(cls, request: Request) -> Self | None:
        """Asked for by its block, or by an image."""
        block = request.blocks.get(cls.name)
        implied = not {"containerize", "manifests"}.isdisjoint(request.blocks)
        return cls() if block is None and implied else block

    @model_validator(mode="after")
    def _takes_something(self) -> Self:
        if self.max_body is not None and self.max_body < _LEAST_BODY:
            raise refuse("MS205", "no request is so small: max_body is below 1kB", "for example: 8MiB")
        return self

    def run(self, job: Job) -> None:
        """Write runtime.json again. Raises MS507 when requests to this model cannot be joined."""
        runtime = json.loads((job.input("runtime") / "runtime.json").read_text())
        if self.batching:
            self._require_batch(json.loads((job.input("signature") / "signature.json").read_text()))
        runtime["session"] |= {"enable_cpu_mem_arena": self.memory_arena, "allow_spinning": self.spinning}
        runtime["serve"] = self.settings()
        text = json.dumps(runtime, indent=2, sort_keys=True) + "\n"
        (job.output("runtime") / "runtime.json").write_text(text)

    def settings(self) -> dict[str, Any]:
        """In the words of the server's command line."""
        found: dict[str, Any] = {"port": self.port}
        for name in ("threads", "parallel", "queue", "max_body", "request_timeout"):
            if (value := getattr(self, name)) is not None:
                found[name] = value
        if self.batching:
            found |= {"batch_size": self.batching.max_size, "batch_delay": self.batching.max_delay}
        if self.auth:
            found["api_keys"] = self.auth.api_keys.published()
        if self.tls:
            files = {"tls_cert": self.tls.cert, "tls_key": self.tls.key, "tls_client_ca": self.tls.client_ca}
            found |= {name: file.published() for name, file in files.items() if file}
        return found

    def _require_batch(self, signature: dict[str, Any]) -> None:
        tensors = [*signature["inputs"], *signature["outputs"]]
        first = {tensor["shape"][0] if tensor["shape"] else None for tensor in tensors}
        if len(first) > 1 or not isinstance(next(iter(first)), str):
            raise fail(
                "MS507",
                "requests to this model cannot be joined: its tensors have no dynamic first axis in common",
                help="remove serve.batching, or name the first axis of every input and output alike in the signature",
                path=("batching",),
            )
