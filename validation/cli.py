"""The commands `sde-momentum validate NAME`, one for each experiment of the registry, and `sde-momentum report`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sde_momentum.commands.build import Command, build
from sde_momentum.core.errors import InputError

from .registry import experiment_of, experiments
from .runner import draw, validate

app = typer.Typer(
    no_args_is_help=True,
    help="Test the predictions against training, and write tables, figures and a report."
    "\n\nExample: sde-momentum validate matrix-sensing --profile quick",
)

for _experiment in experiments().values():
    _example = f"Example: sde-momentum validate {_experiment.name} --profile quick --out DIR"
    app.command(_experiment.name, cls=Command)(
        build(partial(validate, _experiment), _experiment.options, f"{_experiment.help}\n\n{_example}")
    )


def report(
    folder: Annotated[Path, typer.Argument(help="folder written by `sde-momentum validate`")],
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable summary on standard output")] = False,
) -> None:
    """Draw the figures and write the report of existing results again.

    Example: sde-momentum report results/matrix-sensing-quick
    """
    try:
        draw(experiment_of(folder), folder, as_json=as_json)
    except (InputError, ImportError, OSError):
        raise
    except Exception as error:  # what is stored has been changed, or another version has written it
        given = f"{folder}, with results that cannot be drawn ({type(error).__name__}: {error})"
        raise InputError("folder", given, "a folder that `sde-momentum validate` of this version has written") from error
