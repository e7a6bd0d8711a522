"""Ways to choose the momentum of every learning rate that need no theory, and what a momentum costs in a sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sde_momentum.predictors.measured_optimum import Estimate, Optima

Floats = NDArray[np.float64]
Regret = tuple[Estimate, bool]
"""Time (or test loss) of a momentum over the least of the sweep; True: a lower bound."""

FIXED = "0.9"
BASELINES: Mapping[str, tuple[str, Callable[[Floats], Floats]]] = {
    FIXED: ("beta = 0.9 at every lr", lambda lr: np.full_like(lr, 0.1)),
    "0.85": ("beta = 0.85 at every lr, the least of PyTorch's OneCycleLR", lambda lr: np.full_like(lr, 0.15)),
    "0.95": ("beta = 0.95 at every lr, the largest of PyTorch's OneCycleLR", lambda lr: np.full_like(lr, 0.05)),
    "1 - 2 sqrt(lr)": (
        "critical damping of a mode of eigenvalue 1 (arXiv 2603.28921)",
        lambda lr: np.minimum(1.0, 2 * np.sqrt(lr)),
    ),
}
"""What people use without any measurement: name -> its description, and 1 - beta at each learning rate."""

KEPT = "kept"
MOVED: Mapping[str, float] = {"lr^(2/3)": 2 / 3, "lr^(1/2)": 0.5, "lr": 1.0, KEPT: 0.0}
"""Ways to move a momentum tuned at the largest lr: name -> the power of lr that 1 - beta follows."""


def moved(way: str, lr: Floats, one_minus_beta: float) -> Floats:
    """1 - beta at each learning rate, (n_lr,), of a momentum tuned at the largest and moved by a way of MOVED.

    >>> moved("lr^(1/2)", np.array([0.01, 0.04]), 0.2)
    array([0.1, 0.2])
    """
    return np.minimum(1.0, one_minus_beta * (lr / lr.max()) ** MOVED[way])


def about(way: str) -> str:
    """A way of MOVED or BASELINES in words."""
    if way in BASELINES:
        return BASELINES[way][0]
    return f"tuned at the largest lr, {'kept at every lr' if way == KEPT else f'1 - beta moved by {way}'}"


def regret(optima: Optima, i: int, one_minus_beta: float, steps: float = np.inf) -> Regret:
    """Time of a momentum over the shortest at learning rate i of a sweep; outside the sweep that at its end, a lower bound.

    Beyond either end of the sweep time only grows, by more momentum across the cliff, by less along the slow side.

    Args:
        optima: of the sweep
        i: index of the learning rate
        one_minus_beta: of the momentum; NaN: there is none, and no regret
        steps: that every run was given, from which comes the bound where no run arrives; inf: the regret is infinite there
    """
    if np.isnan(one_minus_beta):
        return Estimate(np.nan, np.nan, np.nan, np.nan), False
    inside = float(np.clip(one_minus_beta, optima.one_minus_beta[i, 0], optima.one_minus_beta[i, -1]))
    found = optima.regret(i, inside)
    if found.value == np.inf and np.isfinite(steps):
        return Estimate(float(steps / optima.time[i].min()), np.nan, np.nan, 0.0), True
    return found, not np.isclose(inside, one_minus_beta, rtol=1e-6)


def worst(regrets: Iterable[Regret]) -> Regret:
    """The largest; NaN where one is."""
    return max(regrets, key=lambda pair: np.inf if np.isnan(pair[0].value) else pair[0].value)


def plain_regret(found: Regret) -> dict[str, Any]:
    """A regret as plain numbers."""
    return {**asdict(found[0]), "at_least": found[1]}


def regret_text(found: Regret, digits: int = 2) -> str:
    """A regret in a table, with this many digits after the point."""
    estimate, at_least = found
    if not np.isfinite(estimate.value):
        return "diverges" if estimate.value == np.inf else "–"
    value = f"{estimate.value:.{digits}f}"
    return f"> {value}" if at_least else f"{value} ± {estimate.standard_error:.{digits}f}"
