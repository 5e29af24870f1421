"""`modelspec push`: the images of a build, to a registry."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from modelspec.cli import options
from modelspec.errors import fail

if TYPE_CHECKING:
    from modelspec.oci.reference import Reference


@click.command()
@click.argument("folder", type=options.FOLDER)
@click.argument("ref", required=False)
@options.target_option
@click.option(
    "--replace", is_flag=True, help="Move a tag that stands for another digest; without it that is refused (5)."
)
@options.deadline_option
@options.progress_option
@options.format_option("human", "json")
@options.color_option
def command(folder: Path, ref: str | None, targets: tuple[str, ...], replace: bool, timeout: float, progress: str, format_: str) -> None:  # fmt: skip
    """Push the images of dist/<name>/<version>, or an OCI layout, to a registry.

    REF names the repository, and the tag if it is not to be the version; without it, the name in the spec is used.
    """
    from modelspec.oci import transfer
    from modelspec.oci.registry import Registry
    from modelspec.report import images

    layouts = _layouts(folder, targets)
    pushed: list[transfer.Pushed] = []
    registries: dict[str, Registry] = {}
    for target, layout in layouts.items():
        reference = _reference(ref, layout)
        if reference.host not in registries:
            registries[reference.host] = Registry(reference.host, timeout_s=timeout, say=options.sayer(progress))
        registry = registries[reference.host]
        found = transfer.manifests(layout)
        names = transfer.tags(found, reference, f"-{target}" if len(layouts) > 1 else "")
        if not replace:  # all that can be refused is refused before anything is sent
            for name, descriptor in zip(names, found, strict=True):
                transfer.refuse_moved(registry, name, descriptor)
        tell = images.teller(sys.stderr, progress)
        for name, descriptor in zip(names, found, strict=True):
            pushed.append(transfer.push(registry, layout, name, descriptor, tell, replace=replace))
    if format_ == "json":
        rows = [{"reference": str(p.reference), "digest": p.descriptor.digest, "new": p.new} for p in pushed]
        click.echo(json.dumps({"formatVersion": 1, "pushed": rows}, indent=2))
    else:
        click.echo(images.pushed_text(pushed), nl=False)


def _layouts(folder: Path, targets: tuple[str, ...]) -> dict[str, Path]:
    """The layout itself, or those of a build's targets. Raises MS354."""
    if (folder / "oci-layout").is_file():
        return {"": folder}
    found = {path.parent.parent.name: path.parent for path in sorted(folder.glob("*/image/oci-layout"))}
    if unknown := [name for name in targets if name not in found]:
        raise fail("MS354", f"{folder} holds no image of the target {unknown[0]!r}",
                   help=f"one of: {', '.join(found) or 'none; add `containerize` and build'}")  # fmt: skip
    if not found:
        raise fail("MS354", f"{folder} holds no image", help="add `containerize` to model.yaml, and build")
    return {name: layout for name, layout in found.items() if not targets or name in targets}


def _reference(ref: str | None, layout: Path) -> "Reference":
    from modelspec.oci import transfer
    from modelspec.oci.reference import parse

    named = ref or transfer.own_name(layout)
    if not named:
        raise fail(
            "MS354", f"{layout} does not say where it belongs", help="name the repository: modelspec push FOLDER REF"
        )
    reference = parse(named)
    if reference.digest:
        raise fail(
            "MS353", f"{named!r}: the digest is what the image has, and not to be chosen", help="leave out the digest"
        )
    return reference
