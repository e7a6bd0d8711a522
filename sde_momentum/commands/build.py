"""From a list of options to a typer command; an option that is not given arrives as None, so that it can be refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from ..core.options import Option


def build(run: Callable[[dict[str, Any]], None], options: Sequence[Option], summary: str) -> Callable[..., None]:
    """A function that typer turns into a command: it calls `run` with the options by name, None for those not given.

    `core.options.fill` then puts the defaults in, `core.options.refuse` refuses those that nothing uses. `summary` is the
    first line of the command's help; each option's default stands in its help.
    """

    def command(**given: Any) -> None:
        run(given)

    parameters, annotations = [], dict[str, Any]()
    for option in options:
        known = option.default is not None and option.default is not False and option.default != ()
        text = f"{option.help} [default: {option.default}]" if known else option.help
        annotations[option.name] = Annotated[option.kind | None, typer.Option(option.flag, help=text, show_default=False)]
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(option.name, keyword, default=None, annotation=annotations[option.name]))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = annotations | {"return": None}
    command.__doc__ = summary
    return command
