"""The least momentum that is fast enough in a sweep, as a power of lr.

Next to the fastest momentum there is a cliff, which is a matter of chance, and in some problems none at all. On the side of less
momentum times grow smoothly. As lr goes to 0 all of the curve, time against momentum, moves by lr^(2/3), this point of it too
[theory: Critical limit, eq. 7.9].
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sde_momentum.predictors.measured_optimum import Estimate, Optima, PowerLaw, fit_power_law

from .estimates import plain_law

Floats = NDArray[np.float64]

WITHIN = 1.15
"""Fast enough is a time of at most WITHIN times the shortest."""
DECADE = 10.001
"""Ratio of the largest to the smallest of the learning rates of `Needed.lowest`."""


@dataclass(frozen=True, eq=False)
class Needed:
    """The largest 1 - beta within WITHIN of the shortest time, against lr.

    Attributes:
        lr: increasing, (n_lr,)
        logs: ln of it (n_lr,), and its resamples (n_resamples, n_lr)
        at_end: at how many learning rates the least momentum of the sweep is still fast enough
        n_seeds: number of runs of each momentum
        order: largest number of corrections in lr^(1/3)
    """

    lr: Floats
    logs: tuple[Floats, Floats]
    at_end: int
    n_seeds: int
    order: int

    @classmethod
    def of(cls, optima: Optima, order: int) -> Needed:
        """In a sweep."""
        at_end = int(np.sum(optima.time[:, -1] <= WITHIN * optima.time.min(axis=1)))
        return cls(optima.lr, optima.needed(WITHIN), at_end, optima.n_seeds, order)

    @cached_property
    def estimates(self) -> list[Estimate]:
        """It at each learning rate."""
        value, resamples = self.logs
        return [Estimate.of(v, r, self.n_seeds - 1).exp() for v, r in zip(value, resamples.T, strict=True)]

    @cached_property
    def laws(self) -> list[PowerLaw]:
        """Power laws with 0, 1, ... corrections [theory: Ways to predict, eq. 11.4], as far as a degree of freedom is left."""
        return [fitted(self.lr, self.logs, order, self.n_seeds) for order in range(self.order + 1) if len(self.lr) > order + 2]

    @cached_property
    def lowest(self) -> dict[str, Estimate]:
        """ "LOW to HIGH" -> exponent of the plain power law of the smallest learning rates, a decade; empty where that is all."""
        n = int(np.sum(self.lr <= DECADE * self.lr[0]))
        if not 2 < n < len(self.lr):
            return {}
        value, resamples = self.logs
        law = fitted(self.lr[:n], (value[:n], resamples[:, :n]), 0, self.n_seeds)
        return {f"{self.lr[0]:.3g} to {self.lr[n - 1]:.3g}": law.exponent}

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and strings."""
        return {
            "one_minus_beta": [asdict(each) for each in self.estimates],
            "fits": [plain_law(law) for law in self.laws],
            "lowest": {part: asdict(gamma) for part, gamma in self.lowest.items()},
            "at_end": self.at_end,
        }


def fitted(lr: Floats, logs: tuple[Floats, Floats], order: int, n_seeds: int) -> PowerLaw:
    """A power law through logarithms and those of their resamples that are finite."""
    value, resamples = logs
    return fit_power_law(lr, value, resamples[np.isfinite(resamples).all(axis=1)], order, n_seeds - 1)
