"""Options of commands, built-in problems and experiments as data: listed once, checked in one place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from .errors import InputError


class _Required:
    def __repr__(self) -> str:
        return "required"


REQUIRED: Any = _Required()
"""The default of an option that must be given."""


@dataclass(frozen=True)
class Option:
    """One option of a command line, and one keyword in Python.

    Attributes:
        name: as in Python, such as "label_noise"
        kind: type of its value: int, float, str, bool, Path, list[float], ...
        default: the value where it is not given; REQUIRED if it must be
        help: one phrase, in the field's words, with the unit
        group: heading under which a command's help lists it; "" for the general one
    """

    name: str
    kind: Any
    default: Any
    help: str
    group: str = ""

    @property
    def flag(self) -> str:
        """As the command line has it: "--label-noise"."""
        return f"--{self.name.replace('_', '-')}"


@dataclass(frozen=True)
class Form:
    """One use of a command, and the options that it takes; `name` is its name in messages, such as "--problem valley"."""

    name: str
    options: tuple[Option, ...]

    def values(self, given: Mapping[str, Any], forms: Sequence[Form]) -> dict[str, Any]:
        """The value of every option of this form; an InputError for one in `given` that only others of `forms` use."""
        own = {option.name for option in self.options}
        users: dict[str, list[str]] = {}
        for form in forms:
            for option in form.options:
                users.setdefault(option.name, []).append(form.name)
        for option in (option for form in forms for option in form.options if option.name not in own):
            some = _listed(users[option.name][:3], " or ") + (" or ..." if len(users[option.name]) > 3 else "")
            refuse([option], given, f"not with {self.name}, only with {some}")
        return fill(self.options, given)


def is_given(value: Any) -> bool:
    """Whether an option was given: one that may be repeated arrives as an empty list if it was not."""
    return value is not None and value != []


def fill(options: Iterable[Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """The value of every option: the one in `given`, or its default where that is absent or None.

    Raises an InputError for an option that must be given.
    """
    values = {}
    for option in options:
        values[option.name] = given[option.name] if is_given(given.get(option.name)) else option.default
        if values[option.name] is REQUIRED:
            raise InputError(option.flag, "nothing", f"a value: {option.help}")
    return values


def refuse(options: Iterable[Option], given: Mapping[str, Any], allowed: str) -> None:
    """Raise an InputError for the first option that has a value in `given`: nothing would use it.

    `allowed` says with what the option can be given, such as "only with --problem matrix-sensing".

    >>> refuse([Option("rank", int, 1, "of the hidden matrix")], {"rank": 2}, "only with --problem matrix-sensing")
    Traceback (most recent call last):
        ...
    sde_momentum.core.errors.InputError: --rank: given 2; allowed: only with --problem matrix-sensing
    """
    for option in options:
        if is_given(given.get(option.name)):
            raise InputError(option.flag, given[option.name], allowed)


def union(forms: Iterable[Form]) -> tuple[Option, ...]:
    """The options of all forms, each name once; where forms differ in its help or its default, the help says so.

    >>> a = Form("--problem a", (Option("samples", int, 3, "number of samples"),))
    >>> b = Form("--problem b", (Option("samples", int, REQUIRED, "number of samples"),))
    >>> union([a, b])[0].help
    'number of samples (default: 3 with --problem a; required with --problem b)'
    """
    found: dict[str, list[tuple[str, Option]]] = {}
    for form in forms:
        for option in form.options:
            found.setdefault(option.name, []).append((form.name, option))
    return tuple(_merge(several) for several in found.values())


def _merge(several: Sequence[tuple[str, Option]]) -> Option:
    """One option for those of one name, (form, option) each."""
    first = several[0][1]
    if all(option == first for _, option in several):
        return first
    texts: dict[str, dict[str, list[str]]] = {}
    for form, option in several:
        texts.setdefault(option.help, {}).setdefault(default_text(option), []).append(form)
    notes = {
        text: "; ".join(f"{default or 'optional'} with {_listed(forms, ', ')}" for default, forms in by_default.items())
        for text, by_default in texts.items()
    }
    group = first.group if all(option.group == first.group for _, option in several) else "Several forms"
    return replace(first, default=None, help="; ".join(f"{text} ({note})" for text, note in notes.items()), group=group)


def _listed(forms: Sequence[str], separator: str) -> str:
    """The names of forms in one line, such as "--problem a or b", not "--problem a or --problem b"."""
    short = [name.split(" ", 1)[1] if name.split(" ", 1)[0] == last.split(" ", 1)[0] else name for last, name in pairwise(forms)]
    return separator.join([forms[0], *short])


def default_text(option: Option) -> str:
    """What a command's help says of the default: "default: 8", "required", or nothing where there is none."""
    if option.default is REQUIRED:
        return "required"
    known = option.default is not None and option.default is not False and option.default != ()
    return f"default: {option.default}" if known else ""
