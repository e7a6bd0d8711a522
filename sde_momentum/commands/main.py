"""The command `sde-momentum`. Bad input: one line and exit status 2.

Commands that need more than the core live beside it and are found by the entry-point group `sde_momentum.commands`:
a function is a command, a `typer.Typer` a group of them.
"""

from __future__ import annotations

import signal
import sys
from functools import cache
from importlib.metadata import entry_points
from typing import Annotated

import typer

from ..core.errors import InputError
from .estimate import estimate
from .phase_diagram import phase_diagram
from .predict import predict
from .simulate import simulate

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False,
) -> None:
    """The best momentum for a learning rate, and why."""


app.command("predict")(predict)
app.command("simulate")(simulate)
app.command("phase-diagram")(phase_diagram)
app.command("estimate")(estimate)  # imports torch only when it runs


@cache
def _add_commands() -> None:
    for entry in sorted(entry_points(group="sde_momentum.commands"), key=lambda entry: entry.name):
        command = entry.load()
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=entry.name)
        else:
            app.command(entry.name)(command)


def main() -> None:
    """Entry point."""
    debug = "--debug" in sys.argv
    # clusters end a job with SIGTERM: like Control-C it must not leave worker processes behind
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _add_commands()
        app()
    except InputError as error:
        if debug:
            raise
        typer.echo(f"sde-momentum: {error}", err=True)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if debug or error.name is None or error.name.partition(".")[0] == "sde_momentum":
            raise
        typer.echo(f"sde-momentum: this command needs {error.name}: pip install 'sde-momentum[all]'", err=True)
        sys.exit(1)
    except OSError as error:
        if debug:
            raise
        typer.echo(f"sde-momentum: {error}", err=True)
        sys.exit(1)
