"""The command line: `arasfsr upscale`, `prepare`, `train`, `eval`, `convert`, `doctor`.

Exit status: 0 success; 1 some inputs failed, or a system error such as a full disk; 2 usage error; 130 interrupted by
Ctrl-C; 143 a training run stopped by SIGTERM.
"""

from __future__ import annotations

import logging
import signal
import sys
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from arasfsr._version import __version__
from arasfsr.commands.convert import convert
from arasfsr.commands.doctor import doctor
from arasfsr.commands.eval import evaluate
from arasfsr.commands.options import VERBOSE
from arasfsr.commands.prepare import prepare
from arasfsr.commands.train import train
from arasfsr.commands.upscale import upscale
from arasfsr.errors import ArasfsrError

EXAMPLES = """\b
Examples:
  arasfsr upscale face.png                              # writes face_x4.png
  arasfsr upscale photos -o big/ --long-side 512        # a folder, to a size
  arasfsr eval tiny --data faces --pairs 16:64          # PSNR and SSIM
"""


class Commands(TyperGroup):
    """The commands, which Ctrl-C ends with one line."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was given."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            typer.echo("arasfsr: interrupted", err=True)
            raise typer.Exit(128 + signal.SIGINT) from stop


app = typer.Typer(
    name="arasfsr",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Face super-resolution from any size to any size.",
    epilog=EXAMPLES,
    no_args_is_help=True,
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
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    verbose: Annotated[bool, VERBOSE] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
    logging.getLogger("arasfsr").setLevel(logging.DEBUG if verbose else logging.NOTSET)


def main() -> None:
    """Run the command line. User errors print one line to standard error, anything else a traceback."""
    try:
        app(prog_name="arasfsr")
    except (ArasfsrError, OSError) as error:
        if logging.getLogger("arasfsr").isEnabledFor(logging.DEBUG):
            raise
        typer.echo(f"arasfsr: {error}", err=True)
        usage = isinstance(error, ArasfsrError | FileNotFoundError)
        sys.exit(2 if usage else 1)
    except Exception:
        traceback.print_exc()
        typer.echo(f"arasfsr: this is a bug in arasfsr {__version__}; please report it with the lines above", err=True)
        sys.exit(1)
