"""`modelspec pull`: an image from a registry, as an OCI layout on disk."""

import platform as machine
import sys
from pathlib import Path

import click

from modelspec.cli import options
from modelspec.errors import fail

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "AMD64": "amd64"}


@click.command()
@click.argument("ref")
@click.option(
    "-o", "--output", type=options.FOLDER, help="Folder to write; the last part of the name and the tag when left out."
)
@click.option("--platform", metavar="OS/ARCH", help="Of an image for several: which; this machine's when left out.")
@options.deadline_option
@options.progress_option
@options.color_option
def command(ref: str, output: Path | None, platform: str | None, timeout: float, progress: str) -> None:
    """Pull an image or a model artifact from a registry into an OCI layout, every byte checked."""
    from modelspec.oci.pull import pull
    from modelspec.oci.reference import parse
    from modelspec.oci.registry import Registry
    from modelspec.report import images

    reference = parse(ref)
    name = reference.repository.rpartition("/")[2]
    folder = output or Path(f"{name}-{reference.wanted.removeprefix('sha256:')[:128]}")
    if folder.exists() and any(folder.iterdir()):
        raise fail("MS325", f"{folder} is not empty", help="name another folder with --output")
    registry = Registry(reference.host, timeout_s=timeout, say=options.sayer(progress))
    found = pull(registry, reference, platform or _own_platform(), folder, images.teller(sys.stderr, progress))
    click.echo(f"pulled  {folder}\n  {reference.name}@{found.digest}")


def _own_platform() -> str:
    return f"linux/{_ARCHITECTURES.get(machine.machine(), machine.machine())}"
