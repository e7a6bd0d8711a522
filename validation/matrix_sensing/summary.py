"""Summary of a sweep: predicted against measured, for tables, figures and JSON."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

import sde_momentum as sm
from sde_momentum.predictors.measured_optimum import Estimate, Optima, PowerLaw

from ..estimates import plain_law

EFFECTIVE_LOSS, CLOSED_FORM, TRANSFER, MEASURED = "effective loss", "closed form", "transfer", "measured fit"
METHODS = {
    EFFECTIVE_LOSS: "reduced simulation: least momentum within 15 % of the shortest time on L_eff",
    CLOSED_FORM: "geometry: (c mu zeta^2)^(1/3) lr^(2/3)",
    TRANSFER: "the optimum measured at the largest lr, moved by lr^(2/3); there its regret is in sample",
    MEASURED: "the power law with its corrections, fitted to these very optima: its regret is in sample everywhere",
}
"""Name of each compared way to predict -> its description."""

ORDER = 2
"""Number of corrections to the power law: a first full run, where lr^(1/3) reaches 0.46, showed that one is too few."""


class Summary:
    """Optima, fits and regrets of a sweep.

    Args:
        data: the Dataset of `sweep.dataset`
    """

    def __init__(self, data: xr.Dataset) -> None:
        self.data = data
        self.lr = data["lr"].values
        self.optima = Optima(self.lr, data["one_minus_beta"].values, data["convergence_time"].values)

    @cached_property
    def laws(self) -> list[PowerLaw]:
        """Power laws with 0, 1, 2 corrections, as far as a degree of freedom is left [theory: Ways to predict, eq. 11.4]."""
        return [self.optima.power_law(order) for order in range(ORDER + 1) if len(self.lr) > order + 2]

    @property
    def law(self) -> PowerLaw:
        """The law with the most corrections, which the report quotes first."""
        return self.laws[-1]

    @cached_property
    def rule(self) -> dict[str, float]:
        """The plain power law, for `MomentumRule.from_sweep`; close to the optima within the swept learning rates."""
        return {"exponent": self.laws[0].exponent.value, "prefactor": self.laws[0].prefactor.value}

    def exponent_between(self) -> list[tuple[float, float, Estimate]]:
        """(lowest lr, highest lr, exponent of a plain power law) over three neighbouring learning rates at a time."""
        found = []
        for i in range(len(self.lr) - 2):
            among = np.zeros(len(self.lr), dtype=bool)
            among[i : i + 3] = True
            law = self.optima.power_law(0, among)
            found.append((float(self.lr[i]), float(self.lr[i + 2]), law.exponent))
        return found

    def predicted(self, method: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """1 - beta that a way to predict recommends at each learning rate, (n_lr,)."""
        if method == TRANSFER:
            rule = sm.MomentumRule.from_reference(self.lr[-1], 1 - self.optima.optimum(len(self.lr) - 1).value)
            return np.asarray(rule.one_minus_beta(self.lr))
        if method == MEASURED:
            return self.law.curve(self.lr)[0]
        return np.asarray(self.data["predicted_optimum"].sel({"method": method}).values)

    @cached_property
    def time_ratio(self) -> tuple[Any, Any]:
        """Predicted over measured time, and the standard error of its logarithm, (n_lr, n_momentum)."""
        return self.data["predicted_time"].values / self.optima.time, self.optima.relative_error

    @cached_property
    def safe(self) -> Any:
        """From the recommendation of L_eff upwards in 1 - beta, (n_lr, n_momentum)."""
        floor = self.predicted(EFFECTIVE_LOSS)[:, None] * (1 - 1e-9)
        return self.data["one_minus_beta"].values >= floor

    def worst_time_ratio(self) -> dict[str, float]:
        """Where the predicted time is furthest from the measured one, from the recommendation upwards."""
        ratio, error = self.time_ratio
        with np.errstate(divide="ignore"):  # where no run reaches the target
            off = np.where(self.safe, np.abs(np.log(ratio)), -1.0)
        i, j = np.unravel_index(int(np.argmax(off)), off.shape)
        delta = self.data["one_minus_beta"].values[i, j]
        return {
            "ratio": float(ratio[i, j]),
            "standard_error": float(error[i, j]),
            "lr": float(self.lr[i]),
            "one_minus_beta": float(delta),
        }

    @cached_property
    def least_ratio(self) -> float:
        """The smallest 1 - beta of the sweep over the recommended one."""
        return float((self.data["one_minus_beta"].values[:, 0] / self.predicted(EFFECTIVE_LOSS)).min())

    def cliff(self) -> list[float]:
        """Measured time at the largest momentum of the sweep over the shortest, for each learning rate."""
        return [float(self.optima.time[i, 0] / self.optima.time[i].min()) for i in range(len(self.lr))]

    def row(self, i: int) -> dict[str, Any]:
        """Best momentum, time, recommendations and regrets at learning rate i."""
        best = self.optima.optimum(i)
        rule = {m: float(self.predicted(m)[i]) for m in METHODS}
        return {
            "lr": float(self.lr[i]),
            "one_minus_beta": asdict(best),
            "momentum": 1 - best.value,
            "time": float(self.optima.time[i].min()),
            "methods": {
                method: {
                    "one_minus_beta": value,
                    "momentum": 1 - value,
                    "over_measured": value / best.value,
                    "regret": asdict(self.optima.regret(i, value)),
                }
                for method, value in rule.items()
            },
        }

    def worst_regret(self, method: str) -> Estimate:
        """The largest regret over the learning rates; NaN if the sweep does not cover a recommendation."""
        regrets = [self.optima.regret(i, float(value)) for i, value in enumerate(self.predicted(method))]
        return max(regrets, key=lambda regret: np.inf if np.isnan(regret.value) else regret.value)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and strings."""

        return {
            "rule": self.rule,
            "fits": [plain_law(law) for law in self.laws],
            "left_out": {f"{low:.3g} to {high:.3g}": asdict(gamma) for low, high, gamma in self.exponent_between()},
            "worst_time_ratio": self.worst_time_ratio(),
            "worst_regret": {method: asdict(self.worst_regret(method)) for method in METHODS},
            "learning_rates": [self.row(i) for i in range(len(self.lr))],
        }
