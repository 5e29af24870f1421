"""Objects against the schemas of the Kubernetes version asked for, and of the custom resources that are written."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from modelspec import resources
from modelspec.errors import Diagnostic
from modelspec.manifests.documents import Document, Place

FILES = ("kubernetes.json", "custom-resources.json")
_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_CORE = {
    ("apps/v1", "Deployment"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
    ("v1", "ConfigMap"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("policy/v1", "PodDisruptionBudget"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
}


@cache
def _file(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((resources.folder("schemas") / name).read_bytes())
    return found


@cache
def _validator(api: str, kind: str, version: str) -> Any:
    """The validator of a kind; None where it is not known."""
    from jsonschema import Draft202012Validator

    definitions = {
        name: next((form["schema"] for form in forms if version in form["versions"]), True)
        for name, forms in _file("kubernetes.json").items()
        if name != "source"
    }
    if (api, kind) in _CORE:
        return Draft202012Validator({"$defs": definitions, "$ref": f"#/$defs/{kind}"})
    if own := _file("custom-resources.json").get(f"{api}/{kind}"):
        meta = {"properties": {**own["properties"], "metadata": {"$ref": f"#/$defs/{_META}"}}}
        return Draft202012Validator({**own, **meta, "$defs": definitions})
    return None


def check(document: Document, version: str) -> Iterator[Diagnostic]:
    """MS572 for every way in which an object is not what Kubernetes takes."""
    value = document.value
    api, kind = (value.get("apiVersion"), value.get("kind")) if isinstance(value, dict) else (None, None)
    validator = _validator(api, kind, version) if isinstance(api, str) and isinstance(kind, str) else None
    if validator is None:
        known = ", ".join(
            sorted({kind for _, kind in _CORE} | {k.split("/")[-1] for k in _file(FILES[1])} - {"source"})
        )
        yield document.problem(
            "MS572", f"{kind!r} of {api!r} is not a kind that can be checked", ("kind",), f"one of: {known}"
        )
        return  # fmt: skip
    for error in sorted(validator.iter_errors(value), key=lambda error: [str(step) for step in error.absolute_path]):
        place: Place = tuple(error.absolute_path)
        message = error.message if len(error.message) <= 200 else f"{error.message[:200]}..."
        yield document.problem("MS572", message, place, f"see the {kind} of Kubernetes {version}")
    for step in ("name",):
        if not isinstance(value.get("metadata"), dict) or not value["metadata"].get(step):
            yield document.problem("MS572", f"metadata.{step} is missing", ("metadata",), "every object has a name")
