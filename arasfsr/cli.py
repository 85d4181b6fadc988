"""The command line: `arasfsr upscale`, `prepare`, `train`, `eval`, `convert`, `doctor`.

Exit status 0 done; 1 some inputs failed, or the system did (a full disk); 2 usage error: what was asked for cannot be
done. A training run that a signal stopped ends with 128 + its number.
"""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from arasfsr.commands.convert import convert
from arasfsr.commands.doctor import doctor
from arasfsr.commands.eval import evaluate
from arasfsr.commands.prepare import prepare
from arasfsr.commands.train import train
from arasfsr.commands.upscale import upscale
from arasfsr.errors import BackendUnavailable, CheckpointError, ImageError

app = typer.Typer(
    name="arasfsr",
    help="Face super-resolution from any size to any size.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command()(upscale)
app.command()(prepare)
app.command()(train)
app.command("eval")(evaluate)
app.command()(convert)
app.command()(doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        from arasfsr import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more, on standard error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, format="%(message)s", stream=sys.stderr, force=True
    )


def main() -> None:
    """Run the command line; what a user can get wrong ends in one line on standard error.

    Every message of the library names what was given and what is taken, so whatever it refuses is a usage error.
    """
    try:
        app()
    except (BackendUnavailable, CheckpointError, ImageError, ValueError, TypeError, OSError) as error:
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            raise
        typer.echo(f"arasfsr: {error}", err=True)
        asked = not isinstance(error, OSError) or isinstance(error, FileNotFoundError)
        sys.exit(2 if asked else 1)
