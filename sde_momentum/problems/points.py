"""Checks of the arrays that a problem's methods take: parameters w (..., N), residuals r (..., P), directions c (..., P, N)."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from ..core.errors import check_shape

_AXES = {"w": "N", "r": "P", "c": "PN"}
"""Last axes of the arguments of these names."""
TAKE_POINTS = (
    "outputs", "jacobian", "contract_hessians", "pullback", "vjp", "test_error", "residual", "loss", "trace_hessian",
    "trace_hessian_gradient", "hessians", "distance", "metric", "spectral_gradient", "factors", "product", "unit_outputs",
    "unit_gradient",
)  # fmt: skip
"""Methods whose arguments are checked, in whichever class they are written."""


def checked(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method of a problem, for anything that is an array of the right shape: a list of numbers too; InputError for others.

    NaN and infinities pass: a run that diverged has them.
    """
    names = list(inspect.signature(method).parameters)
    axes = {i: (name, _AXES[name]) for i, name in enumerate(names) if name in _AXES}

    @functools.wraps(method)
    def call(*args: Any, **named: Any) -> Any:
        given = [*args, *(named.pop(name) for name in names[len(args) :] if name in named)]
        for i, (name, wanted) in axes.items():
            if i < len(given):
                sizes = (given[0].n_parameters if axis == "N" else given[0].n_outputs for axis in wanted)
                given[i] = check_shape(name, given[i], *sizes)
        return method(*given, **named)

    return call
