"""A typer command made from a list of options; an option that is not given arrives as None, so that it can be refused."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from ..core.errors import InputError
from ..core.options import Option, default_text


class Command(TyperCommand):
    """A command that refuses an option given twice, of which all but the last value would be lost without a word."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line. Raises InputError."""
        once = set[str]()
        for found in self.make_parser(ctx).parse_args(list(args))[2]:
            option: Any = found
            if option.param_type_name == "option" and not (option.multiple or option.is_flag):
                if option.opts[0] in once:
                    raise InputError(option.opts[0], "twice", "one value")
                once.add(option.opts[0])
        return super().parse_args(ctx, args)


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
