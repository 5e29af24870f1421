"""`modelspec push`: the images of a build, to a registry."""

import json
import sys
from pathlib import Path

import click

from modelspec.cli import options


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
    from modelspec.oci import push
    from modelspec.oci.registry import Registry
    from modelspec.report import images

    wanted = push.items(folder, targets, ref)
    say = options.sayer(progress)
    pushed = push.push(
        wanted,
        lambda host: Registry(host, timeout_s=timeout, say=say),
        images.teller(sys.stderr, progress),
        replace=replace,
    )
    if format_ == "json":
        rows = [{"reference": str(p.reference), "digest": p.descriptor.digest, "new": p.new} for p in pushed]
        click.echo(json.dumps({"formatVersion": 1, "pushed": rows}, indent=2))
    else:
        click.echo(images.pushed_text(pushed), nl=False)
