"""Summary of a sweep: predicted against measured, for tables, figures and JSON."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from sde_momentum.predictors.measured_optimum import Estimate, Optima, PowerLaw

from ..baselines import BASELINES, MOVED, Regret, moved, plain_regret, regret, worst
from ..estimates import plain_law, time_laws
from ..needed import Needed

EFFECTIVE_LOSS, CLOSED_FORM, TRANSFER, MEASURED = "effective loss", "closed form", "lr^(2/3)", "measured fit"
METHODS = {
    EFFECTIVE_LOSS: "reduced simulation: least momentum within 15 % of the shortest time on L_eff",
    CLOSED_FORM: "geometry: (c mu zeta^2)^(1/3) lr^(2/3)",
    TRANSFER: "the optimum measured at the largest lr, moved by lr^(2/3); there its regret is in sample",
    MEASURED: "the power law with its corrections, fitted to these very optima: its regret is in sample everywhere",
}
"""Name of each compared way to predict -> its description."""
WAYS = (*MOVED, *BASELINES)
"""Ways to choose the momentum of every learning rate without theory; the tuned momentum is the optimum of the largest."""

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

    @cached_property
    def time_laws(self) -> list[PowerLaw]:
        """Power laws of the shortest time, with as many corrections."""
        return time_laws(self.optima, ORDER)

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
        """1 - beta that a way to predict, or one of WAYS, recommends at each learning rate, (n_lr,)."""
        if method in BASELINES:
            return BASELINES[method][1](self.lr)
        if method in MOVED:
            return moved(method, self.lr, self.optima.optimum(len(self.lr) - 1).value)
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
                    "regret": plain_regret(self.regret(method, i)),
                }
                for method, value in rule.items()
            },
        }

    def regret(self, method: str, i: int) -> Regret:
        """Time at a recommendation over the shortest at learning rate i."""
        return regret(self.optima, i, float(self.predicted(method)[i]), float(self._steps[i]))

    @cached_property
    def _steps(self) -> Any:
        """Steps that every run of a learning rate was given, (n_lr,)."""
        return self.data["step"].values.max(axis=-1).min(axis=-1)

    def worst_regret(self, method: str) -> Regret:
        """The largest regret over the learning rates."""
        return worst(self.regret(method, i) for i in range(len(self.lr)))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and strings."""

        return {
            "rule": self.rule,
            "fits": [plain_law(law) for law in self.laws],
            "time_fits": [plain_law(law) for law in self.time_laws],
            "needed": Needed.of(self.optima, ORDER).to_dict(),
            "left_out": {f"{low:.3g} to {high:.3g}": asdict(gamma) for low, high, gamma in self.exponent_between()},
            "worst_time_ratio": self.worst_time_ratio(),
            "worst_regret": {method: plain_regret(self.worst_regret(method)) for method in dict.fromkeys((*METHODS, *WAYS))},
            "learning_rates": [self.row(i) for i in range(len(self.lr))],
        }
