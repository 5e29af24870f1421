"""`modelspec inspect`: what lies in a published folder, an OCI layout or a registry."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from modelspec.cli import options
from modelspec.errors import fail


@click.command()
@click.argument("what", metavar="FOLDER|REF")
@options.deadline_option
@options.format_option("human", "json")
@options.color_option
def command(what: str, timeout: float, format_: str) -> None:
    """Show dist/<name>/<version>, an OCI layout, or an image in a registry."""
    from modelspec.oci.reference import names_a_registry

    folder = Path(what)
    if (folder / "oci-layout").is_file():
        _show_layout(folder, format_)
    elif not folder.exists() and names_a_registry(what):  # a folder that is not there is no name of Docker Hub's
        _show_remote(what, timeout, format_)
    else:
        _show_build(folder, format_)


def _show_build(folder: Path, format_: str) -> None:
    from modelspec.report import summary
    from modelspec.report.style import Style

    build = folder / "build.json"
    if not build.is_file():
        raise fail(
            "MS325",
            f"{folder} holds no build.json, and is no image",
            help="give the folder dist/<name>/<version> of a build, an OCI layout, or an image as registry/repository:tag",
        )
    try:
        shown = summary.inspect_text(folder, Style(options.use_color(sys.stdout)))
    except (ValueError, LookupError, TypeError, AttributeError, FileNotFoundError) as error:
        raise fail("MS325", f"{folder} is not as a build left it: {error}", help="build it again") from error
    click.echo(build.read_text(encoding="utf-8") if format_ == "json" else shown, nl=False)


def _show_layout(folder: Path, format_: str) -> None:
    from modelspec.oci import description

    _show_images(description.of_layout(folder), format_)


def _show_remote(what: str, timeout: float, format_: str) -> None:
    from modelspec.oci import description
    from modelspec.oci.reference import parse
    from modelspec.oci.registry import Registry

    reference = parse(what)
    registry = Registry(reference.host, timeout_s=timeout, say=options.sayer("plain"))
    _show_images([description.of_registry(registry, reference)], format_)


def _show_images(found: list[dict[str, Any]], format_: str) -> None:
    from modelspec.report import images
    from modelspec.report.style import Style

    if format_ == "json":
        click.echo(json.dumps({"formatVersion": 1, "images": found}, indent=2, ensure_ascii=False))
        return
    for image in found:
        click.echo(images.as_text(image, Style(options.use_color(sys.stdout))), nl=False)
