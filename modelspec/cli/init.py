"""`modelspec init`: write a commented model.yaml to begin with."""

from pathlib import Path

import click

from modelspec.cli.options import FOLDER, PATH
from modelspec.errors import ModelspecError, fail


@click.command()
@click.argument("folder", default=".", type=FOLDER)
@click.option("--from", "model", type=PATH, help="An ONNX model to read names, types and shapes from.")
@click.option("--framework", help="What the source is written in. Default: onnx.")
@click.option("--force", is_flag=True, help="Replace an existing model.yaml.")
def command(folder: Path, model: Path | None, framework: str | None, force: bool) -> None:
    """Write a commented model.yaml, and the schema that editors complete it with, into FOLDER."""
    from modelspec import registry
    from modelspec.spec import starter
    from modelspec.spec.schema import as_text
    from modelspec.words import meant

    known = list(registry.frameworks())
    if framework is not None and framework not in known:
        raise fail("MS325", f"--framework: {framework!r} is not known", help=meant(framework, known))
    if model is not None and framework not in {None, "onnx"}:
        raise fail("MS325", "--from reads an ONNX model, and --framework says otherwise", help="leave --framework out")
    target = folder / "model.yaml"
    if (target.exists() or target.is_symlink()) and not force:
        raise fail("MS325", f"{str(target)!r} exists", help="use --force to replace it")
    text = starter.from_onnx(model, folder) if model else starter.example(framework or "onnx")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / starter.SCHEMA_FILE).write_text(as_text(), encoding="utf-8")
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise fail(
            "MS402", f"{str(target)!r} cannot be written: {error.strerror}", help="check the permissions"
        ) from error
    click.echo(f"wrote {target}", err=True)
    _say_what_is_missing(target)


def _say_what_is_missing(target: Path) -> None:
    from modelspec.spec.load import load

    try:
        load(target)
    except ModelspecError as error:
        for problem in error.diagnostics:
            place = f"line {problem.span.line}: " if problem.span else ""
            click.echo(f"  next: {place}{problem.message}", err=True)
