"""`modelspec explain`: the page of an error."""

import shutil

import click

from modelspec.errors import CODES, fail


@click.command()
@click.argument("code", required=False)
def command(code: str | None) -> None:
    """Explain an error, for example MS203: what causes it, and how it is fixed. Without CODE: list all."""
    if code is None:
        for name, (status, title) in CODES.items():
            click.echo(f"{name}  exit {int(status)}  {title}")
        return
    from modelspec.report.pages import read
    from modelspec.words import closest

    known = code.upper().replace("[", "").replace("]", "")
    if known not in CODES:
        near = closest(known, CODES)
        fix = f"did you mean {near!r}?" if near else "modelspec explain, without a code, lists all"
        raise fail("MS325", f"no error has the code {code!r}", help=fix)
    click.echo(read(known).as_text(shutil.get_terminal_size().columns))
