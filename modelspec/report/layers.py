"""The images of a build as lines: the digest to deploy, and what each layer weighs."""

from collections.abc import Iterable
from pathlib import Path

from modelspec.oci.contents import OURS
from modelspec.options import bytes_shown
from modelspec.publication import images_of


def images_lines(folder: Path, labels: Iterable[str]) -> list[str]:
    """A table of layers and sizes; nothing where there are no images."""
    lines: list[str] = []
    for label, said in sorted(images_of(folder, labels).items()):
        lines += [f"image  {label}  {said.deployed.digest}"]
        for image in said.images:
            sizes = image.sizes()
            rows = [*sizes.items(), ("over the base", sum(sizes.get(name, 0) for name in OURS))]
            lines += [f"  {image.platform:<12}  {name:<14}  {bytes_shown(size):>10}" for name, size in rows]
        if said.artifact:
            lines.append(f"  {'ModelPack':<12}  {said.artifact.digest}")
    return lines
