"""`modelspec render`: the manifests alone, for an image that is there."""

from pathlib import Path
from typing import get_args

import click

from modelspec.cli import options

_FORMATS = ("kubernetes", "monitoring", "kserve", "helm", "triton", "compose", "nginx")


@click.command()
@click.argument("formats", metavar="[FORMAT]...", nargs=-1, type=click.Choice(_FORMATS))
@options.file_option
@click.option("-t", "--target", metavar="NAME", help="The target, where there are several.")
@click.option("--image", metavar="REF", help="The image by its digest. Default: the one that was built.")
@options.output_option
@click.option(
    "--to", type=options.FOLDER, default=Path("manifests"), show_default=True, help="Folder to write the manifests to."
)
@options.color_option
def command(
    formats: tuple[str, ...], file: Path | None, target: str | None, image: str | None, output: Path, to: Path
) -> None:
    """Write the manifests of the spec without a build: those asked for, or those of the spec.

    The image is that of the build in --output, or the one named by --image registry/repository@sha256:...
    """
    from modelspec.manifests.options import Format
    from modelspec.preview import Asked, render

    assert get_args(Format) == _FORMATS
    for path in render(Asked(options.spec_file(file), to, formats, target, image, output)):  # type: ignore[arg-type]
        options.out(str(to / path))
