"""`modelspec schema`: print the JSON Schema of model.yaml."""

import json

import click


@click.command()
def command() -> None:
    """Print the JSON Schema of model.yaml, for editors and other tools."""
    from modelspec.spec.schema import build

    click.echo(json.dumps(build(), indent=2, ensure_ascii=False))
