"""Writes schemas/kubernetes.json and schemas/custom-resources.json, which manifests are checked against.

    pip download --no-deps kubernetes-validate==1.37.0 && unzip kubernetes_validate-*.whl -d FOLDER
    python -m tests.manifests.vendor FOLDER CRD.yaml ...

Both are Apache-2.0. Descriptions are left out, and definitions that several versions share are there once.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

KINDS = {
    "Deployment": "deployment-apps-v1",
    "Service": "service-v1",
    "ServiceAccount": "serviceaccount-v1",
    "ConfigMap": "configmap-v1",
    "HorizontalPodAutoscaler": "horizontalpodautoscaler-autoscaling-v2",
    "PodDisruptionBudget": "poddisruptionbudget-policy-v1",
    "NetworkPolicy": "networkpolicy-networking-v1",
}
VERSIONS = range(29, 38)
LEGACY = {"huggingface", "lightgbm", "onnx", "paddle", "pmml", "pytorch", "sklearn", "tensorflow", "triton", "xgboost"}
"""Forms of a KServe predictor that this project never writes, and that are most of its schema."""
SCHEMAS = Path(__file__).parents[2] / "schemas"


def stripped(value: Any, *, names: bool = False) -> Any:
    """Without descriptions; `names` where the keys are those of the user."""
    if isinstance(value, list):
        return [stripped(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: stripped(item, names=key in {"properties", "$defs"} and not names)
        for key, item in value.items()
        if names or (key not in {"description", "$schema", "$id"} and not key.startswith("x-"))
    }


def references(value: Any) -> Iterator[str]:
    """The names of the definitions that a schema uses."""
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"].split("/")[-1]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def of_version(folder: Path) -> dict[str, Any]:
    """The definitions that the kinds need, themselves included."""
    known = json.loads((folder / "_definitions.json").read_text())["$defs"]
    found = {kind: stripped(json.loads((folder / f"{file}.json").read_text())) for kind, file in KINDS.items()}
    left = list(found.values())
    while left:
        for name in references(left.pop()):
            if name not in found:
                found[name] = stripped(known[name])
                left.append(found[name])
    return found


def kubernetes(package: Path) -> dict[str, Any]:
    """Name -> the forms it had, each with the versions that have it."""
    forms: dict[str, dict[str, list[str]]] = {}
    for minor in VERSIONS:
        folder = package / "kubernetes_validate" / "kubernetes-json-schema" / f"v1.{minor}.0-local-strict"
        for name, schema in of_version(folder).items():
            text = json.dumps(schema, sort_keys=True).replace("/api/_definitions.json#", "#")
            forms.setdefault(name, {}).setdefault(text, []).append(f"1.{minor}")
    return {
        name: [{"versions": versions, "schema": json.loads(text)} for text, versions in found.items()]
        for name, found in sorted(forms.items())
    }


def closed(value: Any) -> Any:
    """A schema of a custom resource as JSON Schema has it: keys that are not named are refused."""
    if isinstance(value, list):
        return [closed(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: closed(item) for key, item in value.items()}
    if value.get("x-kubernetes-int-or-string"):
        found |= {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    opened = value.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in value
    if value.get("type") == "object" and isinstance(value.get("properties"), dict) and not opened:
        found["additionalProperties"] = False
    return found


def custom(files: list[str]) -> dict[str, Any]:
    """`<apiVersion>/<kind>` -> its schema."""
    found = {}
    for file in files:
        crd = yaml.load(Path(file).read_text(), Loader=yaml.CSafeLoader)["spec"]
        version = next(version for version in crd["versions"] if version["served"] and version["storage"])
        schema = version["schema"]["openAPIV3Schema"]
        schema["properties"].pop("status", None)
        spec = schema["properties"]["spec"]["properties"]
        if crd["names"]["kind"] == "InferenceService":
            schema["properties"]["spec"]["properties"] = {"predictor": spec["predictor"]}
            for name in (LEGACY & set(spec["predictor"]["properties"])) | {"workerSpec"}:
                del spec["predictor"]["properties"][name]
        if crd["names"]["kind"] == "ServingRuntime":
            del spec["workerSpec"]
        found[f"{crd['group']}/{version['name']}/{crd['names']['kind']}"] = stripped(closed(schema))
    return dict(sorted(found.items()))


def write(name: str, source: str, values: dict[str, Any]) -> None:
    """One entry a line, so that a change shows."""
    lines = (f"{json.dumps(key)}: {json.dumps(value, sort_keys=True)}" for key, value in values.items())
    text = ",\n  ".join((f'"source": {json.dumps(source)}', *lines))
    (SCHEMAS / name).write_text(f"{{\n  {text}\n}}\n")


if __name__ == "__main__":
    write("kubernetes.json", "kubernetes-validate 1.37.0, Apache-2.0", kubernetes(Path(sys.argv[1])))
    sources = "gateway-api 4564255a, KServe, prometheus-operator 0.93.0; Apache-2.0"
    write("custom-resources.json", sources, custom(sys.argv[2:]))
