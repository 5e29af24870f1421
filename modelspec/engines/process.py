"""The building process: reads an order on stdin, leaves the engine and answer.json in the folder that the order names."""

import json
import sys
from pathlib import Path
from typing import Any

from modelspec.engines import record
from modelspec.engines.builder import RefusedError, build
from modelspec.engines.record import Recipe

TIMING, TACTICS, LAYERS = "timing.cache", "tactics.json", "layers.json"


def main() -> None:
    """Build what the order asks for; a refusal is an answer too."""
    order = json.load(sys.stdin)
    out, timing = Path(order["out"]), order["timing"]
    try:
        answer = _made(order, out, Path(timing).read_bytes() if timing else b"")
    except RefusedError as error:
        answer = {"refused": str(error).splitlines()}
    (out / "answer.json").write_text(json.dumps(answer))


def _made(order: dict[str, Any], out: Path, timing: bytes) -> dict[str, Any]:
    made = build(Recipe.model_validate_json(json.dumps(order["recipe"])), Path(order["model"]), timing)
    (out / record.PLAN).write_bytes(made.plan)
    if made.timing:
        (out / TIMING).write_bytes(made.timing)
    if made.layers:
        (out / LAYERS).write_text(json.dumps(made.layers, indent=2) + "\n")
    return {"version": made.version, "tactics": made.tactics, "inspected": bool(made.layers)}


if __name__ == "__main__":
    main()
