"""`modelspec schema`: print the JSON Schema of model.yaml."""

import click


@click.command()
def command() -> None:
    """Print the JSON Schema of model.yaml, for editors and other tools."""
    from modelspec.spec.schema import as_text

    click.echo(as_text(), nl=False)
