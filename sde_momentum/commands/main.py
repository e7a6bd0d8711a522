"""The command `sde-momentum`; for bad input it prints one line and exits with status 2.

Further commands, `derive`, `validate` and `report`, are entry points of the group `sde_momentum.commands`: a function is a
command, a `typer.Typer` a group of commands.
"""

from __future__ import annotations

import signal
import sys
from errno import ENAMETOOLONG
from functools import cache
from importlib.metadata import entry_points
from typing import Annotated

import typer

from .. import __version__
from ..core.errors import InputError
from ..core.extras import explained
from .build import Command
from .estimate import estimate
from .find import find
from .phase_diagram import phase_diagram
from .predict import predict
from .simulate import simulate

COMMANDS = {"predict": predict, "find": find, "simulate": simulate, "phase-diagram": phase_diagram, "estimate": estimate}
"""Name -> command of this folder, in the order of the help."""

_HELP = (
    "Predict the momentum with which SGD trains fastest at a given learning rate, and test it by simulation."
    "\n\nNear a manifold of minimizers noise makes SGD relax across the manifold and drift along it to flatter minima: training "
    "is fastest where the two timescales meet, 1 - beta = C lr^(2/3)."
)
app = typer.Typer(
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sde-momentum {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False,
    version: Annotated[bool, typer.Option("--version", help="print the version", callback=_print_version, is_eager=True)] = False,
) -> None:
    pass


for _name, _command in COMMANDS.items():
    app.command(_name, cls=Command)(_command)


@cache
def _add_commands() -> None:
    for entry in sorted(entry_points(group="sde_momentum.commands"), key=lambda entry: entry.name):
        command = entry.load()
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=entry.name)
        else:
            app.command(entry.name, cls=Command)(command)


_PATHS = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)
"""Errors of a path that was given; a full disk is none of them."""


def main() -> None:
    """Run the command line."""
    debug = "--debug" in sys.argv
    # clusters end a job by SIGTERM, which like Control-C must not leave worker processes behind
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _add_commands()
        sys.exit(app(standalone_mode=False))
    except (typer.TyperException, InputError, ModuleNotFoundError, MemoryError, OSError) as error:
        ours = isinstance(error, ModuleNotFoundError) and (error.name or "sde_momentum").partition(".")[0] == "sde_momentum"
        if debug or ours:
            raise
        if isinstance(error, typer.TyperException):  # an unknown option, a value of the wrong type
            message = " ".join(error.format_message().split())
        elif isinstance(error, ModuleNotFoundError):
            message = str(explained("this command", error))
        elif isinstance(error, MemoryError):
            message = f"not enough memory: {error}".removesuffix(": ")
        else:
            message = str(error)
        if message:  # empty without arguments: the help has been printed already
            typer.echo(f"sde-momentum: {message}", err=True)
        sys.exit(
            2
            if isinstance(error, (typer.TyperException, InputError, *_PATHS)) or getattr(error, "errno", 0) == ENAMETOOLONG
            else 1
        )
