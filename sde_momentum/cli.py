"""The command `sde-momentum`. Bad input: one line and exit status 2.

Commands that need more than the core live beside it and are found by the entry-point group `sde_momentum.commands`:
a function is a command, a `typer.Typer` a group of them.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from importlib.metadata import entry_points
from typing import Annotated

import typer

from .errors import InputError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False,
) -> None:
    """The best momentum for a learning rate, and why."""


@app.command()
def predict(
    lr: Annotated[float, typer.Option(help="learning rate")],
    ref_lr: Annotated[float | None, typer.Option(help="learning rate of a tuned pair")] = None,
    ref_momentum: Annotated[float | None, typer.Option(help="its momentum")] = None,
    noise: Annotated[float | None, typer.Option(help="c = sigma^2 / B")] = None,
    curvature: Annotated[float | None, typer.Option(help="mu, curvature of tr H along the manifold")] = None,
    weight_decay: Annotated[float, typer.Option(help="explicit curvature along the manifold")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable output")] = False,
) -> None:
    """Best momentum from a tuned pair (--ref-lr, --ref-momentum) or from geometry (--noise, --curvature)."""
    from .predictors.momentum_rule import MomentumRule

    if ref_lr is not None and ref_momentum is not None and noise is None and curvature is None:
        rule = MomentumRule.from_reference(ref_lr, ref_momentum)
    elif noise is not None and curvature is not None and ref_lr is None and ref_momentum is None:
        rule = MomentumRule.from_geometry(noise, curvature, explicit_curvature=weight_decay)
    else:
        raise InputError("options", "another combination", "--ref-lr with --ref-momentum, or --noise with --curvature")
    result = {
        "lr": lr,
        "momentum": float(rule.momentum(lr)),
        "one_minus_beta": float(rule.one_minus_beta(lr)),
        "clamped": bool(rule.clamped(lr)),
        "source": rule.source,
    }
    typer.echo(json.dumps(result) if as_json else f"momentum {result['momentum']:.6f}\n{rule.explain(lr)}")


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
