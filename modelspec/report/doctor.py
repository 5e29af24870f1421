"""What is installed, what each part needs, and what the machine is."""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from modelspec import nvidia, registry, toolchain
from modelspec.report.style import Style
from modelspec.target import Target

COMMANDS = {
    "serve": ("httptools", "numpy", "onnxruntime", "orjson", "prometheus-client", "uvicorn"),
    "serve (gRPC)": ("grpcio", "protobuf"),
    "tune": ("optuna",),
}
"""What commands need beyond the builds they start."""
_EXTRAS = {
    "fsspec": "remote", "torch-pruning": "pytorch", "optuna": "tune", "grpcio": "grpc", "protobuf": "grpc",
    "httptools": "serve", "orjson": "serve", "prometheus-client": "serve", "uvicorn": "serve",
}  # fmt: skip
"""The extra that brings a package; `onnx` brings the others."""

FACTS = ("arch", "isa", "cpu", "cores")


def findings(cache: Path, targets: Iterable[Target] | None = None) -> dict[str, Any]:
    """Everything `doctor` shows, as data; with the targets of a spec, which of them can be compiled here."""
    parts: list[dict[str, Any]] = []
    for kind, found in (
        ("framework", registry.frameworks()),
        ("loader", registry.loaders()),
        ("stage", registry.stages()),
        ("target", registry.targets()),
    ):
        parts += [
            _part(kind, name, part.packages, getattr(part, "optional", ()), getattr(part, "toolchain", ()))
            for name, part in found.items()
        ]
    parts += [_part("command", name, packages) for name, packages in COMMANDS.items()]
    return {
        "formatVersion": 1,
        "modelspec": toolchain.own_version(),
        "python": toolchain.version("python"),
        "machine": {**toolchain.facts(FACTS), "int8": _integers()},
        "cache": str(cache),
        "network": _network(),
        "gpus": [asdict(gpu) for gpu in nvidia.gpus()],
        "parts": parts,
        "targets": None if targets is None else {target.label: _target(target) for target in targets},
    }


def _target(target: Target) -> dict[str, str]:
    """What lacks to compile for a target, and how it is measured; both "" where all is here."""
    absent = toolchain.missing(target.packages)
    lacking = " and ".join([*(f"the package {name}" for name in absent), *filter(None, [target.lacking()])])
    return {"lacking": lacking, "measured": target.stands_in()}


def _integers() -> str:
    """Whether models with full 8-bit weights answer right here."""
    if toolchain.lacks(toolchain.fact("isa"), toolchain.VNNI):
        return "sums of products saturate (AVX2 without VNNI): quantize with reduce_range"
    return "sums of products are exact"


def _network() -> str:
    """Whether actions can be cut off from the network."""
    if sys.platform != "linux":
        return "builds run on Linux"
    from modelspec.platform_linux import network_can_be_left

    reason = network_can_be_left()
    return f"actions keep it: {reason}" if reason else "actions have none"


def _part(
    kind: str, name: str, packages: Iterable[str], optional: Iterable[str] = (), own: Iterable[str] = ()
) -> dict[str, Any]:
    """`own`: what only a device's own tools need; an extra of its name brings it."""
    named = {*packages, *own}
    versions, more = ({name: toolchain.version(name) for name in sorted(names)} for names in (named, optional))
    ready = None not in versions.values()
    part = {"kind": kind, "name": name, "packages": versions, "optional": more, "ready": ready}
    return {**part, "extra": name if kind == "framework" or toolchain.missing(own) else None}


def as_text(found: dict[str, Any], style: Style) -> str:
    """For people: one line per part, and the command that brings what is missing."""
    lines = [f"modelspec {found['modelspec']}  python {found['python']}  cache {found['cache']}", "", "machine"]
    lines += [f"  {name:<8} {value}" for name, value in found["machine"].items()]
    lines.append(f"  {'network':<8} {found['network']}")
    lines += [f"  {'gpu':<8} {_gpu(gpu)}" for gpu in found["gpus"]] or [f"  {'gpu':<8} no NVIDIA GPU, or no driver"]
    missing: set[str] = set()
    for kind in dict.fromkeys(part["kind"] for part in found["parts"]):
        lines += ["", f"{kind}s"]
        for part in (part for part in found["parts"] if part["kind"] == kind):
            absent, lacking = (
                [name for name, version in part[key].items() if version is None] for key in ("packages", "optional")
            )
            missing |= {part["extra"] or _EXTRAS.get(name, "onnx") for name in absent + lacking}
            state = style.green("ready") if part["ready"] else style.red(f"missing {', '.join(absent)}")
            state += f" but for options that take {', '.join(lacking)}" if lacking and not absent else ""
            versions = {**part["packages"], **part["optional"]}
            present = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
            lines.append(f"  {part['name']:<16} {state}  {style.dim(present)}".rstrip())
    if found["targets"] is not None:
        lines += ["", "targets of the spec"]
        lines += [f"  {label:<16} {_can(said, style)}" for label, said in found["targets"].items()]
    if missing:
        lines += ["", f"fix   pip install 'modelspec-build[{','.join(sorted(missing))}]'"]
    return "\n".join(lines) + "\n"


def _gpu(gpu: dict[str, str]) -> str:
    return f"{gpu['name']}, compute capability {gpu['compute_capability']}, driver {gpu['driver']}, CUDA {gpu['cuda']}"


def _can(said: dict[str, str], style: Style) -> str:
    if said["lacking"]:
        return style.red(f"lacks {said['lacking']}")
    return style.green("can be built here") + (f"  {style.dim(said['measured'])}" if said["measured"] else "")


def as_json(found: dict[str, Any]) -> str:
    """For machines."""
    return json.dumps(found, indent=2) + "\n"
