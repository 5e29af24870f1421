"""What the templates of the smaller formats see beyond what all of them see."""

import math
from collections.abc import Mapping
from typing import Any

from modelspec.errors import fail
from modelspec.manifests.facts import Facts
from modelspec.manifests.options import Manifests
from modelspec.render import Word
from modelspec.runtime.references import MOUNT

_HEALTH = """\
import ssl, urllib.request as u
c = ssl._create_unverified_context()
u.urlopen("{scheme}://127.0.0.1:{port}/v2/health/ready", timeout=4, context=c if "{scheme}" == "https" else None)
"""
"""Asks the server itself: the image has no curl."""


def nginx(block: Manifests, facts: Facts) -> dict[str, Any]:
    """The proxy, and the servers behind it."""
    given = block.nginx
    assert given is not None, "the format is not taken without its block"
    tls = given.tls
    return {
        "body": facts.server.body,
        "proxy": {
            "servers": given.servers,
            "host": given.host,
            "rate": given.rate,
            "burst": given.rate,
            "timeout": math.ceil(facts.server.timeout) + 1,
            "plain": [] if tls else [given.listen],
            "tls": [{"port": given.listen, "certificate": tls.certificate, "key": tls.key}] if tls else [],
        },
    }


def compose(block: Manifests, facts: Facts) -> dict[str, Any]:
    """One server on one machine, with its secrets as files beside compose.yaml."""
    server = facts.server
    mounts = []
    for reference in server.references.values():
        if "secret" in reference:
            name = f"{reference['secret']}/{reference['key']}"
            mounts.append((f"./secrets/{name}", f"{MOUNT}/{name}"))
        elif "file" in reference:
            path = reference["file"].replace("$", "$$")  # which compose would take for a variable
            mounts.append((path, path))
    cpu = block.resources.cpu
    scheme = "https" if server.tls else "http"
    health = _HEALTH.format(scheme=scheme, port=server.port)
    return {
        "compose": {
            "environment": [reference["env"] for reference in server.references.values() if "env" in reference] or None,
            "volumes": [
                {"type": "bind", "source": source, "target": target, "read_only": True}
                for source, target in dict(mounts).items()
            ]
            or None,
            "health": ["CMD", "python3", "-c", health],
            "start": f"{math.ceil(block.start)}s",
            "stop": f"{server.grace + 5}s",
            "cpus": f"{int(cpu[:-1]) / 1000:g}" if cpu.endswith("m") else cpu,
            "memory": f"{block.resources.memory}b",
        }
    }


def kserve(block: Manifests, facts: Facts) -> dict[str, Any]:
    """How KServe scales it."""
    scale = block.autoscale
    replicas = block.replicas or 2
    own = {
        "serving.kserve.io/deploymentMode": "Standard",
        "serving.kserve.io/autoscalerClass": "hpa" if scale else "none",
        "modelspec/model-version": facts.version,
    }
    return {
        "kserve": {
            "annotations": {**dict(sorted(block.annotations.items())), **own},
            "min": scale.min if scale else replicas,
            "max": scale.max if scale else replicas,
            "scale_metric": "cpu" if scale else None,
            "scale_target": scale.cpu if scale else None,
            "timeout": math.ceil(facts.server.timeout),
        }
    }


def helm(_: Manifests, facts: Facts) -> dict[str, Any]:
    """What only a chart says."""
    return {"helm": {"description": f"Serves the model {facts.name}"}}


_TYPES: Mapping[str, str] = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64", "int8": "INT8",
    "int16": "INT16", "int32": "INT32", "int64": "INT64", "float16": "FP16", "float32": "FP32", "float64": "FP64",
    "string": "STRING",
}  # fmt: skip


def triton(_: Manifests, facts: Facts) -> dict[str, Any]:
    """The tensors as Triton counts them: without the batch, where requests are joined."""
    settings = facts.server.settings
    size = int(settings.get("batch_size", 1))
    joined = size > 1
    threads = facts.server.runtime.get("session", {}).get("intra_op_num_threads")
    return {
        "triton": {
            "max_batch_size": size if joined else 0,
            "inputs": [_tensor(tensor, joined=joined) for tensor in facts.signature["inputs"]],
            "outputs": [_tensor(tensor, joined=joined) for tensor in facts.signature["outputs"]],
            "queue_delays": [round(float(settings["batch_delay"]) * 1e6)] if joined else [],
            "timeout": round(facts.server.timeout * 1e6),
            "queue": int(settings.get("queue", 128)),
            "threads": [str(threads)] if threads else [],
        }
    }


def _tensor(tensor: Mapping[str, Any], *, joined: bool) -> dict[str, Any]:
    shape = [-1 if isinstance(size, str) else size for size in tensor["shape"][1 if joined else 0 :]]
    if tensor["dtype"] not in _TYPES:
        raise fail("MS576", f"Triton's ONNX backend takes no {tensor['dtype']}, which {tensor['name']!r} is",
                   help="leave triton out of formats", path=("formats",))  # fmt: skip
    return {
        "name": tensor["name"],
        "data_type": Word(f"TYPE_{_TYPES[tensor['dtype']]}"),
        "dims": shape or [1],
        "reshape": [] if shape else [[]],
    }
