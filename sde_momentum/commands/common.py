"""What several commands ask for: a built-in problem with its start and target, --json, files to write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError
from ..core.options import Form, Option, is_given
from ..problems.registry import BuiltIn, built_in, built_in_problems

if TYPE_CHECKING:
    from ..problems.problem import Array, Problem

JSON = Option("json", bool, False, "print machine-readable JSON")
NESTEROV = Option("nesterov", bool, False, "Nesterov's update: the gradient is taken at w + beta v")
_GROUP = "Built-in problem"


def problem_option(default: str | None) -> Option:
    """--problem, with its names."""
    return Option("problem", str, default, f"built-in problem: {', '.join(built_in_problems())}", _GROUP)


def problem_form(problem: BuiltIn, default: str | None, common: Sequence[Option], *, choose_start: bool, target: bool) -> Form:
    """The form "--problem NAME": the options `common` to all problems, and those of `problem`.

    With `choose_start` it has --start and the options of every start, else those of the default start; with `target` it has
    --metric and --fraction.
    """
    options = [problem_option(default), *common, *_label_noise(problem)]
    if target:
        options += _target(problem)
    if choose_start:
        options += _start(problem)
    sizes = (*problem.options, *(problem.start_options if choose_start else problem.starts[0].options))
    options += [replace(option, group=f"Only with --problem {problem.name}") for option in sizes]
    return Form(f"--problem {problem.name}", tuple(options))


def _label_noise(problem: BuiltIn) -> list[Option]:
    text = "sigma, standard deviation of the label noise, in units of the targets"
    return [Option("label_noise", float, problem.label_noise, text, _GROUP)]


def _target(problem: BuiltIn) -> list[Option]:
    metric, fraction = problem.target
    return [
        Option("metric", str, metric, "target: this metric, such as test_error or trace_hessian, ...", _GROUP),
        Option("fraction", float, fraction, "... stays below this fraction of its value at the start", _GROUP),
    ]


def _start(problem: BuiltIn) -> list[Option]:
    users: dict[str, list[str]] = {}
    for known in built_in_problems().values():
        for start in known.starts:
            users.setdefault(f"{start.name}: {start.help}", []).append(known.name)
    text = "; ".join(f"{start} ({', '.join(names)})" for start, names in users.items())
    return [Option("start", str, problem.starts[0].name, f"where training starts. {text}", _GROUP)]


def chosen_form(forms: Mapping[str, Form], name: str) -> Form:
    """The form of the problem of this name; an InputError for an unknown one."""
    return forms[built_in(name).name]


def set_up(problem: BuiltIn, given: Mapping[str, Any]) -> tuple[Problem, Array]:
    """The problem and its start, from the options that were given."""
    names = [option.name for option in (*problem.options, *problem.start_options)]
    return problem.setup(given.get("start"), **{name: given[name] for name in names if is_given(given.get(name))})


def check_target(problem: BuiltIn, given: Mapping[str, Any], metric: str) -> None:
    """The default fraction is that of the problem's default metric: another metric needs a fraction of its own."""
    if metric != problem.target[0] and not is_given(given.get("fraction")):
        raise InputError("--fraction", "nothing", f"a number in (0, 1): the default is that of --metric {problem.target[0]}")


def check_file(option: str, file: Path) -> None:
    """A file that can be written: its folder exists, and it is none itself."""
    if file.is_dir() or not file.parent.is_dir():
        raise InputError(option, file, "a file in a folder that exists")


def check_picture(option: str, file: Path) -> None:
    """A file that can be written, of a kind that can be drawn; before any work: matplotlib may be missing."""
    from ..figures.style import FORMATS

    if file.suffix[1:] not in FORMATS:
        raise InputError(option, file, f"a file that ends in {', '.join(f'.{kind}' for kind in FORMATS)}")
    check_file(option, file)
