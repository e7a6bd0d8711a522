"""The commands `sde-momentum validate NAME`, one for each experiment of the registry, and `sde-momentum report`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sde_momentum.commands.build import build

from .registry import experiment_of, experiments
from .runner import draw, validate

app = typer.Typer(no_args_is_help=True, help="Test the predictions against training, and write tables, figures and a report.")

for _experiment in experiments().values():
    app.command(_experiment.name)(build(partial(validate, _experiment), _experiment.options, _experiment.help))


def report(
    folder: Annotated[Path, typer.Argument(help="folder written by `sde-momentum validate`")],
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable summary on standard output")] = False,
) -> None:
    """Draw the figures and write the report of existing results again."""
    draw(experiment_of(folder), folder, as_json=as_json)
