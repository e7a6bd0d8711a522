"""The command `sde-momentum derive` (an entry point of that name): print one derivation, or all of them on one page."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sde_momentum.commands.build import Command
from sde_momentum.commands.common import check_file
from sde_momentum.core.errors import InputError
from sde_momentum.core.extras import require
from sde_momentum.core.files import write_whole
from sde_momentum.core.progress import note, track
from sde_momentum.core.terminal import width

PAGE_WIDTH = 100
"""Columns of text that goes to a file or a pipe."""
FORMATS = ("text", "latex", "html")


def derive(
    name: Annotated[str | None, typer.Argument(help="a derivation, or 'all'; without it they are listed by section")] = None,
    output_format: Annotated[str, typer.Option("--format", help="text, latex or html")] = "text",
    out: Annotated[Path | None, typer.Option(help="file to write; standard output without it")] = None,
) -> None:
    """Print a derivation: its assumptions, every step with how it was checked, and the formulas it ends in.

    All steps are verified on the way; the exit status is 1 if one does not hold.

    Example: sde-momentum derive oscillator
    """
    require("derive", "sympy", "mpmath")
    from .codegen import BY_NAME
    from .page import render

    columns = (width() if out is None else None) or PAGE_WIDTH
    as_text = partial(render.as_text, columns=columns)

    if output_format not in FORMATS:
        raise InputError("format", output_format, ", ".join(FORMATS))
    if name is not None and name != "all" and name not in BY_NAME:
        raise InputError("name", name, ", ".join((*BY_NAME, "all")))
    if out is not None:
        check_file("--out", out)
    if name is None:
        if out is not None or output_format != "text":
            raise InputError("name", "none", "a derivation or 'all', to be written")
        typer.echo(render.contents(BY_NAME, columns))
        return
    chosen = BY_NAME if name == "all" else {name: BY_NAME[name]}
    with track("derive", len(chosen)) as advance:
        checked = {}
        for key, derivation in chosen.items():
            note(derivation.title)
            checked[key] = derivation, render.check(derivation)
            advance(1)
        text = {"latex": render.as_latex, "html": render.as_html}.get(output_format, as_text)(checked)
    if out is None:
        typer.echo(text)
    else:
        write_whole(out, lambda file: file.write(text.encode()))
        typer.echo(f"{sum(len(steps) for _, steps in checked.values())} steps written to {out}")
    if not all(step.holds for _, steps in checked.values() for step in steps):
        raise typer.Exit(1)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command(cls=Command)(derive)
