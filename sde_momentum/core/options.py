"""Options as data: what a command, a built-in problem or an experiment can be asked for, listed once and checked in one place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import InputError


@dataclass(frozen=True)
class Option:
    """One option of a command line, and one keyword in Python.

    Attributes:
        name: as in Python, such as "label_noise"
        kind: type of its value: int, float, str, bool, Path, list[float], ...
        default: the value where it is not given
        help: one phrase, in the field's words, with the unit
    """

    name: str
    kind: Any
    default: Any
    help: str

    @property
    def flag(self) -> str:
        """As the command line has it: "--label-noise"."""
        return f"--{self.name.replace('_', '-')}"


def fill(options: Iterable[Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """The value of every option: the one in `given`, or its default where that is absent or None."""
    return {o.name: o.default if given.get(o.name) is None else given[o.name] for o in options}


def refuse(options: Iterable[Option], given: Mapping[str, Any], allowed: str) -> None:
    """Raise an InputError for the first option that has a value in `given`: nothing would use it.

    `allowed` says with what the option can be given, such as "only with --problem matrix-sensing".

    >>> refuse([Option("rank", int, 1, "of the hidden matrix")], {"rank": 2}, "only with --problem matrix-sensing")
    Traceback (most recent call last):
        ...
    sde_momentum.core.errors.InputError: --rank: given 2; allowed: only with --problem matrix-sensing
    """
    for option in options:
        value = given.get(option.name)
        if value is not None and value != []:
            raise InputError(option.flag, value, allowed)
