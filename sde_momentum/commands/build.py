"""A typer command made from a list of options; an option that is not given arrives as None, so that it can be refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from ..core.options import Option, default_text


def build(run: Callable[[dict[str, Any]], None], options: Sequence[Option], summary: str) -> Callable[..., None]:
    """A function that typer turns into a command: it calls `run` with the options by name, None for those not given.

    `run` inserts the defaults by `core.options.fill` or `core.options.Form.values`, which refuses options that nothing uses.
    `summary` is the command's help: a first line, and more after an empty one. Each option's help shows its default.
    """

    def command(**given: Any) -> None:
        run(given)

    # parentheses, because typer takes brackets for markup and does not show them
    parameters, annotations = [], dict[str, Any]()
    for option in options:
        default = default_text(option)
        text = f"{option.help} ({default})" if default else option.help
        how = typer.Option(option.flag, help=text, show_default=False, rich_help_panel=option.group or None)
        annotations[option.name] = Annotated[option.kind | None, how]
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(option.name, keyword, default=None, annotation=annotations[option.name]))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = annotations | {"return": None}
    command.__doc__ = summary
    return command
