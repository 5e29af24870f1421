"""Images and their transfer as text."""

from collections.abc import Callable
from typing import Any, TextIO

from modelspec.oci.descriptor import Descriptor
from modelspec.oci.push import Pushed
from modelspec.options import bytes_shown
from modelspec.report.human import visible
from modelspec.report.style import Style

_LONGEST = 60
_DONE = {
    "there": "already there",
    "mounted": "taken over from the base image's repository",
    "sent": "sent",
    "come": "done",
}


def as_text(image: dict[str, Any], style: Style) -> str:
    """An image: its name and digest, how it is started, and a table of its layers."""
    lines = [style.bold(visible(image["name"]) or image["digest"]), f"  digest    {image['digest']}"]
    lines.append(f"  type      {visible(str(image.get('artifactType') or image['mediaType']))}")
    if image.get("platform"):
        lines.append(f"  platform  {visible(image['platform'])}")
    config = image.get("config", {})
    for key, name in (("User", "user"), ("Entrypoint", "entry"), ("Cmd", "command"), ("ExposedPorts", "ports")):
        if config.get(key):
            value = config[key]
            lines.append(f"  {name:<8}  {visible(value if isinstance(value, str) else ' '.join(map(str, value)))}")
    for title, values in (("labels", config.get("Labels")), ("annotations", image.get("annotations"))):
        if isinstance(values, dict) and values:
            lines += [f"  {title}", *(f"    {visible(str(k))} = {visible(str(v))}" for k, v in sorted(values.items()))]
    if "manifests" in image:
        lines += ["  images", *(f"    {visible(m['platform']):<16}  {m['digest']}" for m in image["manifests"])]
    return "\n".join([*lines, *_layers(image.get("layers", []), style)]) + "\n"


def _layers(layers: list[dict[str, Any]], style: Style) -> list[str]:
    if not layers:
        return []
    total = sum(layer["size"] for layer in layers)
    rows = [f"  layers    {len(layers)}, together {bytes_shown(total)}"]
    for number, layer in enumerate(layers, 1):
        made = visible(layer["from"])
        made = made if len(made) <= _LONGEST else made[: _LONGEST - 1] + "…"
        rows.append(
            f"    {number:>2}  {bytes_shown(layer['size']):>10}  {layer['digest'][7:19]}  {style.dim(made)}".rstrip()
        )
    return rows


def pushed_text(pushed: list[Pushed]) -> str:
    """Each manifest that a registry has now, by its tag and its digest."""
    lines = []
    for one in pushed:
        lines.append(f"{'pushed' if one.new else 'already there'}  {one.reference}")
        lines.append(f"  {one.reference.name}@{one.descriptor.digest}")
    return "\n".join(lines) + "\n"


def teller(stream: TextIO, mode: str) -> Callable[[Descriptor, str | None], None]:
    """Says of each blob what became of it; on a terminal also that it is on its way."""
    live = mode == "auto" and stream.isatty()

    def tell(blob: Descriptor, outcome: str | None) -> None:
        if mode == "none":
            return
        line = f"  {blob.digest[7:19]}  {bytes_shown(blob.size):>10}  "
        if outcome is None:
            if live:
                stream.write(f"{line}...\r")
                stream.flush()
            return
        stream.write(f"{line}{_DONE[outcome]}\n")
        stream.flush()

    return tell
