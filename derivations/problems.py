"""The models of `derivations.models` as built-in problems; `sde_momentum.problems.registry` finds them as an entry point."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from sde_momentum.core.options import Option
from sde_momentum.problems.registry import FLATTEST, INTERPOLATING, PROBLEM_SEED, BuiltIn, Start, Values

if TYPE_CHECKING:
    from .symbolic_model import SymbolicModel


@cache
def _model(name: str, sizes: tuple[tuple[str, Any], ...]) -> SymbolicModel:
    from . import models

    model: SymbolicModel = getattr(models, name)(**dict(sizes))
    return model


def _built_in(name: str, help: str, options: Mapping[str, Option], *, label_noise: float, target: tuple[str, float]) -> BuiltIn:
    """The function of `derivations.models` of that name; `options` by the function's own argument."""

    def model(values: Values) -> SymbolicModel:
        return _model(name.replace("-", "_"), tuple((key, values[option.name]) for key, option in options.items()))

    return BuiltIn(
        name,
        help,
        tuple(options.values()),
        lambda values: model(values).compile(),
        (
            Start(
                "interpolating",
                INTERPOLATING,
                lambda problem, values: model(values).interpolating_point(),
            ),
            Start(
                "flattest",
                FLATTEST,
                lambda problem, values: model(values).flattest_point(),
            ),
        ),
        label_noise,
        target,
        needs=("sympy", "mpmath"),
    )


BUILT_IN = (
    _built_in(
        "two-factor",
        "one number is fitted by u.v / sqrt(n): a linear network with one hidden layer, one input and one output",
        {
            "n": Option("dimension", int, 8, "n, dimension of each factor"),
            "target": Option("target_output", float, 1.0, "number to fit, not 0"),
            "imbalance": Option("imbalance", float, 2.0, "|u| / |v| at the interpolating start"),
        },
        label_noise=0.02,
        target=("trace_hessian", 0.82),
    ),
    _built_in(
        "diagonal-linear",
        "sparse regression by sum_i (u_i^2 - v_i^2) x_i, a diagonal linear network",
        {
            "n_features": Option("features", int, 40, "number of features"),
            "n_samples": Option("samples", int, 16, "number of training samples"),
            "n_relevant": Option("relevant_features", int, 1, "number of features on which the targets depend"),
            "seed": PROBLEM_SEED,
        },
        label_noise=0.1,
        target=("trace_hessian", 0.1),
    ),
    _built_in(
        "two-layer-linear",
        "a random linear map is fitted by W2 W1 x, a linear network with one hidden layer",
        {
            "n_inputs": Option("inputs", int, 4, "number of inputs of the network"),
            "n_hidden": Option("hidden", int, 4, "number of hidden units"),
            "n_outputs": Option("outputs", int, 2, "number of outputs of the network"),
            "n_samples": Option("samples", int, 3, "number of training samples"),
            "seed": PROBLEM_SEED,
        },
        label_noise=0.05,
        target=("trace_hessian", 0.88),
    ),
    _built_in(
        "two-layer-tanh",
        "a student network with one hidden layer of tanh units is fitted to a smaller teacher",
        {
            "n_inputs": Option("inputs", int, 5, "number of inputs of the network"),
            "n_hidden": Option("hidden", int, 20, "number of hidden units"),
            "n_samples": Option("samples", int, 40, "number of training samples"),
            "n_teacher": Option("teacher_units", int, 3, "number of hidden units of the teacher"),
            "seed": PROBLEM_SEED,
        },
        label_noise=0.02,
        target=("trace_hessian", 0.5),
    ),
)
