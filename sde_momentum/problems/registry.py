"""The built-in problems: each with its options, its starts, its default label noise and its default target.

Commands, benchmarks and experiments are made from this list. A problem that lives elsewhere joins it through the entry-point
group `sde_momentum.problems`, which names a `BuiltIn` or a sequence of them. Nothing heavy is imported until one is made.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from ..core.arguments import by_annotations
from ..core.errors import InputError
from ..core.extras import require
from ..core.options import Option, fill, refuse

if TYPE_CHECKING:
    from .problem import Array, Problem

ENTRY_POINTS = "sde_momentum.problems"
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Start:
    """A parameter vector from which training can start.

    Attributes:
        name: such as "interpolating"
        help: one phrase: which point it is
        make: gives w, (N,), from the problem and the values of the problem's and of the start's options
        options: those that only this start uses
    """

    name: str
    help: str
    make: Callable[[Any, Values], Array]
    options: tuple[Option, ...] = ()


@dataclass(frozen=True)
class BuiltIn:
    """A problem that commands and experiments know by name.

    Attributes:
        name: such as "matrix-sensing"
        help: one phrase: the model and the task
        options: its sizes and seeds
        make: gives the problem from the options' values
        starts: where training can start; the first is the default, and lies on the manifold of minimizers
        label_noise: default standard deviation sigma, in units of the targets
        target: default (metric, fraction): training is done when the metric stays below this fraction of its start
        needs: modules of optional packages that `make` imports
    """

    name: str
    help: str
    options: tuple[Option, ...]
    make: Callable[[Values], Problem]
    starts: tuple[Start, ...]
    label_noise: float
    target: tuple[str, float]
    needs: tuple[str, ...] = ()

    @property
    def start_options(self) -> tuple[Option, ...]:
        """The options of all starts, each once."""
        return tuple(dict.fromkeys(option for start in self.starts for option in start.options))

    def setup(self, start: str | None = None, **values: Any) -> tuple[Problem, Array]:
        """The problem and a start, (N,); `start` is the name of one of `starts`, None the first.

        `values` are those of `options` and of the start's options that are not the defaults.

        Raises:
            InputError: for an unknown start, an option that problem or start do not have, or a value out of range.

        >>> problem, w = built_in("valley").setup(modes=4, start_theta=1.5)
        >>> problem.n_parameters, w.tolist()
        (5, [1.5, 0.0, 0.0, 0.0, 0.0])
        """
        chosen = next((known for known in self.starts if start in (None, known.name)), None)
        if chosen is None:
            raise InputError("--start", start, " or ".join(known.name for known in self.starts))
        used = (*self.options, *chosen.options)
        unused = [option for option in self.start_options if option not in used]
        refuse(unused, values, f"not with --start {chosen.name} of {self.name}")
        for name in values.keys() - {option.name for option in (*used, *unused)}:
            raise InputError(name, values[name], f"options of {self.name}: {', '.join(option.name for option in used)}")
        filled = fill(used, values)
        problem = self.make(filled)
        return problem, chosen.make(problem, filled)


def _make_matrix_sensing(values: Values) -> Problem:
    from .matrix_sensing import MatrixSensing

    return MatrixSensing(values["d"], values["rank"], values["measurements"], seed=values["problem_seed"])


def _make_valley(values: Values) -> Problem:
    from .valley import Valley

    return Valley.balanced(values["modes"], values["curvature"], values["coupling"])


INTERPOLATING, FLATTEST = "a point of the manifold of minimizers", "the manifold's flattest point, where the drift comes to rest"
PROBLEM_SEED = Option("problem_seed", int, 0, "seed of the problem's random numbers: hidden solution and training data")
_START_SEED = Option("start_seed", int, 0, "seed of the random start; gradient descent leads from it to the interpolating one")
_START_THETA = Option("start_theta", float, 2.5, "theta of the interpolating start, its position along the manifold")

_OWN = (
    BuiltIn(
        "matrix-sensing",
        "a hidden matrix of low rank is fitted by a product U V, from random linear measurements (overparametrised)",
        (
            Option("d", int, 8, "size of the hidden matrix and of its factors: d x d"),
            Option("rank", int, 1, "rank of the hidden matrix"),
            Option("measurements", int, 40, "number of measurements: training samples"),
            PROBLEM_SEED,
        ),
        _make_matrix_sensing,
        (
            Start(
                "interpolating",
                INTERPOLATING,
                lambda problem, values: problem.interpolating_start(seed=values["start_seed"]),
                (_START_SEED,),
            ),
            Start(
                "random",
                "off the manifold, independent normal entries of standard deviation 1 / sqrt(d)",
                lambda problem, values: problem.random_start(problem.width**-0.5, values["start_seed"]),
                (_START_SEED,),
            ),
        ),
        label_noise=0.1,
        target=("test_error", 0.1),
    ),
    BuiltIn(
        "valley",
        "a straight manifold, along which tr H is a parabola and the Hessian's eigenvalues change in opposite pairs",
        (
            Option("modes", int, 32, "number of normal modes, even; as many training samples"),
            Option("curvature", float, 1.0, "mu, second derivative of tr H along the manifold of minimizers"),
            Option("coupling", float, 0.0, "g = sum_j (d lambda_j / d theta)^2 / lambda_j, in units of the curvature"),
        ),
        _make_valley,
        (
            Start(
                "interpolating",
                INTERPOLATING,
                lambda problem, values: problem.start(values["start_theta"]),
                (_START_THETA,),
            ),
            Start("flattest", FLATTEST, lambda problem, values: problem.start(0.0)),
        ),
        label_noise=0.1,
        target=("test_error", 0.1),
    ),
)


@cache
def built_in_problems() -> dict[str, BuiltIn]:
    """Every built-in problem by its name; those that entry points add come last.

    Warns of an entry point that cannot be loaded or whose problem has the name of another, and goes on without it.

    >>> list(built_in_problems())[:2]
    ['matrix-sensing', 'valley']
    """
    found = {problem.name: problem for problem in _OWN}
    for entry in sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        try:
            loaded = entry.load()
        except (ImportError, AttributeError) as error:
            warnings.warn(f"built-in problems of {entry.value} are left out: {error}", stacklevel=2)
            continue
        for problem in (loaded,) if isinstance(loaded, BuiltIn) else loaded:
            if found.setdefault(problem.name, problem) is not problem:
                warnings.warn(f"{problem.name} of {entry.value} is left out: there is a problem of that name", stacklevel=2)
    return found


@by_annotations
def built_in(name: str) -> BuiltIn:
    """The built-in problem of this name, or an InputError that lists them.

    >>> built_in("matrix-sensing").target
    ('test_error', 0.1)
    """
    known = built_in_problems()
    if name not in known:
        raise InputError("--problem", name, ", ".join(known))
    require(f"the problem {name}", *known[name].needs)
    return known[name]
