"""Options that several commands share: a built-in problem with its start and target, --json, output files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..core.errors import InputError
from ..core.extras import require
from ..core.files import write_whole
from ..core.options import REQUIRED, Form, Option, is_given
from ..core.terminal import width, wrapped
from ..problems.registry import BuiltIn, built_in, built_in_problems

if TYPE_CHECKING:
    from ..problems.problem import Array, Problem

JSON = Option("json", bool, False, "print machine-readable JSON")
NESTEROV = Option("nesterov", bool, False, "Nesterov's update: the gradient is taken at w + beta v")
LABEL_NOISE = "sigma, standard deviation of the label noise, in units of the targets"
FRACTION = "target: --metric stays below this fraction of its value at the start"
_GROUP = "Built-in problem"


def geometry_options(group: str) -> tuple[Option, ...]:
    """--noise and --curvature, both required."""
    noise = "label-noise strength c = sigma^2 / batch size, in units of the loss"
    curvature = "mu, second derivative of tr H along the manifold of minimizers, in loss / parameter^4"
    return Option("noise", float, REQUIRED, noise, group), Option("curvature", float, REQUIRED, curvature, group)


def problem_option(default: str | None) -> Option:
    """The option --problem; its help lists the built-in problems."""
    return Option("problem", str, default, f"built-in problem: {', '.join(built_in_problems())}", _GROUP)


def problem_form(problem: BuiltIn, default: str | None, common: Sequence[Option], *, choose_start: bool, target: bool) -> Form:
    """The form "--problem NAME": options `common` to all problems, and those of `problem`.

    Args:
        problem: NAME's entry in the registry
        default: of --problem
        common: options of the command
        choose_start: add --start and the options of every start, not only those of the default start
        target: add --metric and --fraction
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
    return [Option("label_noise", float, problem.label_noise, LABEL_NOISE, _GROUP)]


def _target(problem: BuiltIn) -> list[Option]:
    metric, fraction = problem.target
    return [
        Option("metric", str, metric, "metric of the target, such as test_error or trace_hessian", _GROUP),
        Option("fraction", float, fraction, FRACTION, _GROUP),
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
    """The problem and its start, (N,), from the given options."""
    names = [option.name for option in (*problem.options, *problem.start_options)]
    return problem.setup(given.get("start"), **{name: given[name] for name in names if is_given(given.get(name))})


def check_target(problem: BuiltIn, given: Mapping[str, Any], metric: str) -> None:
    """Raise InputError for a metric other than the default without --fraction, whose default is for that metric."""
    if metric != problem.target[0] and not is_given(given.get("fraction")):
        raise InputError("--fraction", "nothing", f"a number in (0, 1): the default is that of --metric {problem.target[0]}")


def check_file(option: str, file: Path) -> None:
    """Raise InputError for a file that cannot be written: its folder does not exist, or it is a folder, a device or a pipe."""
    if not file.parent.is_dir() or (file.exists() and not file.is_file()):
        raise InputError(option, file, "a file in a folder that exists")


def check_picture(option: str, file: Path) -> None:
    """As `check_file`, for a picture: the format must be known and matplotlib installed. Call it before any work."""
    require(option, "matplotlib")
    from ..figures.style import FORMATS

    if file.suffix[1:] not in FORMATS:
        raise InputError(option, file, f"a file that ends in {', '.join(f'.{kind}' for kind in FORMATS)}")
    check_file(option, file)


def say(text: str) -> None:
    """Print text, with lines no longer than the terminal is wide."""
    typer.echo(wrapped(text, width()))


def tell(answer: Any, as_json: bool) -> None:
    """Print an answer: its text, or with --json its `to_dict()`."""
    if as_json:
        typer.echo(json.dumps(answer.to_dict()))
    else:
        say(str(answer))


def save_plot(answer: Any, path: Path) -> None:
    """Write the picture that `answer.plot()` draws, in the format of the file's name."""
    import matplotlib

    from ..figures.style import STYLE, render

    with matplotlib.rc_context(STYLE):
        figure: Any = answer.plot().get_figure()
        content = render(figure, path.suffix[1:])
    write_whole(path, lambda file: file.write(content))
