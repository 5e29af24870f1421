"""The shape of model.yaml: what every spec has, and one optional block for each stage in the registry."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, create_model

from modelspec import digest, registry
from modelspec.framework import Framework
from modelspec.loader import Loader
from modelspec.lookup import Found
from modelspec.options import Options, refuse
from modelspec.remote import name_of
from modelspec.signature import Signature
from modelspec.spec.tune import Tune
from modelspec.spec.union import OneOf, own_keys
from modelspec.stage import Request
from modelspec.target import Name, Target

API_VERSION = "modelspec/v1"

_SEMVER = re.compile(
    r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(-(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*)?"
    r"(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$"
)


def _semver(value: str) -> str:
    if not _SEMVER.fullmatch(value):
        raise refuse("MS206", f"{value!r} is not a semantic version", 'for example: "1.0.0"')
    return value


class Requires(Options):
    """What the spec needs of the tool."""

    modelspec: str = Field(
        max_length=200, description="Versions of modelspec that may build this spec.", examples=[">=0.1,<2"]
    )


class Card(Options):
    """What people should know of the model; it becomes MODEL_CARD.md."""

    description: str | None = Field(
        None, min_length=1, description="What the model does, in a sentence.", examples=["Handwritten digits"]
    )
    license: str | None = Field(
        None, min_length=1, description="The licence, as an SPDX expression.", examples=["Apache-2.0"]
    )
    authors: tuple[str, ...] = Field((), description="Who made it.", examples=[["Ada Lovelace"]])
    intended_use: str | None = Field(
        None, min_length=1, description="What it is meant for.", examples=["Sorting scanned forms"]
    )
    limitations: str | None = Field(
        None, min_length=1, description="Where it fails or was not tried.", examples=["8x8 grey images only"]
    )
    training_data: str | None = Field(
        None, min_length=1, description="What it was trained on.", examples=["scikit-learn's digits"]
    )
    references: tuple[str, ...] = Field(
        (), description="Papers and pages about it.", examples=[["https://arxiv.org/abs/1706.03762"]]
    )


class ModelSpec(Options):
    """A parsed and validated model.yaml."""

    apiVersion: Literal["modelspec/v1"] = Field(  # noqa: N815 - the spelling of the file
        description="Version of this file's shape.", examples=[API_VERSION]
    )
    name: Name = Field(description="Name of the model: lower-case letters, digits and dashes.", examples=["digits"])
    version: Annotated[str, AfterValidator(_semver)] = Field(
        max_length=128,  # it becomes the name of a folder
        description="Semantic version of the model, in quotes.",
        examples=["1.0.0"],
        json_schema_extra={"pattern": _SEMVER.pattern},
    )
    requires: Requires | None = Field(
        None, description="What the spec needs of the tool.", examples=[{"modelspec": ">=0.1,<2"}]
    )
    source: Framework = Field(
        description="Where the float model comes from.",
        examples=[{"framework": "onnx", "artifact": "model.onnx"}],
    )
    signature: Signature = Field(
        default_factory=Signature,
        description="Tensors of the model; inferred where the framework can, checked where given.",
        examples=[{"inputs": {"image": {"dtype": "float32", "shape": ["batch", 1, 8, 8]}}}],
    )
    data: dict[Name, Loader] = Field(
        default_factory=dict,
        description="Data sets by name.",
        examples=[{"test": {"path": "test.npz", "labels": "digit"}}],
    )
    targets: tuple[Target, ...] = Field(
        min_length=1, description="What is built for.", examples=[[{"device": "cpu", "precision": "int8"}]]
    )
    tune: Tune | None = Field(
        None,
        description="What `modelspec tune` may change, and which builds it looks for.",
        examples=[{"data": "validation", "search": {"quantize.int8.ranges": ["minmax", "entropy"]}}],
    )
    card: Card = Field(
        default_factory=Card,
        description="What people should know of the model.",
        examples=[{"description": "Handwritten digits", "license": "Apache-2.0"}],
    )

    @property
    def blocks(self) -> dict[str, Any]:
        """The blocks of stages that are present, by name."""
        keys = (stage.block_name or name for name, stage in registry.stages().items())
        found = {key: getattr(self, key, None) for key in keys}
        return {name: block for name, block in found.items() if block is not None}

    def request(self, index: int, found: Mapping[str, Found] | None = None) -> Request:
        """What stages are asked with for a target; `found` is what is known of their questions."""
        card = self.card.model_dump(mode="json", exclude_defaults=True)
        model = {"name": self.name, "version": self.version, **card}
        target = self.targets[index]
        return Request(self.source, self.signature, self.blocks, self.data, target, index, model, found or {})

    @property
    def sha256(self) -> str:
        """Digest of what the spec says, defaults included."""
        return digest.of_json(self.model_dump(mode="json", exclude_none=True))


def by_suffix(value: Any) -> str | None:
    """The loader of a data set whose `format` is left out: by a key only it has, or by the suffix of its path."""
    loaders = registry.loaders()
    path = value.get("path")
    if isinstance(path, dict):
        path = _name_at(path.get("uri"))
    if isinstance(path, str):
        return next((name for name, kind in loaders.items() if path.lower().endswith(kind.suffixes or ("\0",))), None)
    for name, kind in loaders.items():
        own = own_keys(kind)
        if own and "path" not in own and set(own) <= set(value):
            return name
    return None


def _name_at(uri: Any) -> str | None:
    try:
        return name_of(uri) if isinstance(uri, str) else None
    except ValueError:
        return None


@cache
def model() -> type[ModelSpec]:
    """ModelSpec with what is in the registry: each framework, loader, target, and a block for each stage."""
    source = Annotated[Framework, OneOf("framework", registry.frameworks())]
    loader = Annotated[Loader, OneOf("format", registry.loaders(), by_suffix)]
    target = Annotated[Target, OneOf("device", registry.targets())]
    fields: dict[str, Any] = {
        "source": (source, ModelSpec.model_fields["source"]),
        "data": (dict[Name, loader], ModelSpec.model_fields["data"]),
        "targets": (tuple[target, ...], ModelSpec.model_fields["targets"]),
    }
    for name, stage in registry.stages().items():
        if stage.block is not False:
            fields[stage.block_name or name] = (stage if stage.block is None else stage.block, _block_field(stage))
    return create_model("ModelSpec", __base__=ModelSpec, __doc__=ModelSpec.__doc__, **fields)


def _block_field(stage: Any) -> Any:
    return Field(None, description=stage.summary)
