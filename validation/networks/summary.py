"""Summary of a sweep on a network: the two optima, their exponents, the regret of each rule, and tests of the assumptions."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import stdtrit

from sde_momentum.core.errors import InputError
from sde_momentum.predictors.measured_optimum import Estimate, Optima, PowerLaw
from sde_momentum.theory import formulas

from ..baselines import BASELINES, KEPT, Regret, moved, plain_regret, regret, worst
from ..estimates import plain_law, time_laws
from ..needed import Needed
from .plan import EFFECTIVE, TRANSFER

Floats = NDArray[np.float64]

FASTEST, BEST_TEST = "fastest", "best test"
OPTIMA = {
    FASTEST: "the momentum whose runs come to the target first",
    BEST_TEST: "the momentum of the lowest test loss after the budget",
}
EXPONENT = 2 / 3
_END = 0.01  # in ln(1 - beta)


class Summary:
    """Optima, fits, regrets and tests of assumptions of a sweep.

    Args:
        data: of `sweep.Sweep.dataset`
    """

    def __init__(self, data: xr.Dataset) -> None:
        self.configuration: dict[str, Any] = json.loads(data.attrs["configuration"])
        self.about: dict[str, Any] = json.loads(data.attrs["about"])
        self.estimate: dict[str, Any] = json.loads(data.attrs["estimate"])
        self.look: dict[str, Any] = json.loads(data.attrs["look"])
        # 1 - beta above 1 is left out at the largest learning rates: only columns that all have are compared
        self.data = data.isel(momentum=np.flatnonzero(np.isfinite(data["one_minus_beta"].values).all(axis=0)))
        self.lr: Floats = self.data["lr"].values
        self.one_minus_beta: Floats = self.data["one_minus_beta"].values
        self.methods = [str(name) for name in self.data["method"].values if str(name) not in BASELINES]

    # -- the two optima ----------------------------------------------------------------------------

    @cached_property
    def test_loss(self) -> Floats:
        """Test loss after the budget, (n_lr, n_momentum, n_seed); inf for a run that diverged."""
        return self._at_budget("test_loss")

    @cached_property
    def test_accuracy(self) -> Floats:
        """Test accuracy after the budget, (n_lr, n_momentum, n_seed); NaN where there are no classes."""
        return self._at_budget("test_accuracy")

    def _at_budget(self, name: str) -> Floats:
        values = self.data[name].values.astype(np.float64)
        out = np.empty(values.shape[:3])
        for i, budget in enumerate(self.data["budget"].values):
            step = self.data["step"].values[i]
            step = step[step >= 0]
            k = int(np.clip(np.searchsorted(step, budget), 1, len(step) - 1))
            share = (budget - step[k - 1]) / (step[k] - step[k - 1])
            with np.errstate(invalid="ignore"):
                found = (1 - share) * values[i, ..., k - 1] + share * values[i, ..., k]
            out[i] = found if name == "test_accuracy" else np.where(np.isfinite(found), found, np.inf)
        return out

    @cached_property
    def optima(self) -> dict[str, Optima]:
        """Both optima; FASTEST is missing where no run arrives at some learning rate."""
        found = {}
        for name, values in ((FASTEST, self.data["convergence_time"].values), (BEST_TEST, self.test_loss)):
            try:
                found[name] = Optima(self.lr, self.one_minus_beta, values)
            except InputError:
                continue
        return found

    @cached_property
    def laws(self) -> dict[str, list[PowerLaw]]:
        """The plain power law, and with one correction where a learning rate is left over."""
        orders = [order for order in (0, 1) if len(self.lr) > order + 2]
        return {name: [optima.power_law(order) for order in orders] for name, optima in self.optima.items()}

    @cached_property
    def time_laws(self) -> list[PowerLaw]:
        """Power laws of the shortest time; none where there is no fastest momentum."""
        return time_laws(self.optima[FASTEST]) if FASTEST in self.optima else []

    @cached_property
    def test_metrics(self) -> dict[str, dict[str, Estimate]]:
        """Test loss and accuracy after the budget: "fastest", at the fastest momentum; "least", at the least of the sweep; and
        their "difference". Means over learning rates and seeds, with errors from the seeds, which both momenta share.

        Empty where there is no fastest momentum, or it is the least at every learning rate; without a metric that a network does
        not have, or that is infinite, since a run diverged.
        """
        if FASTEST not in self.optima or self.over_fastest.max() == 1:
            return {}
        found = {}
        for name, values in (("test loss", self.test_loss), ("test accuracy", self.test_accuracy)):
            fastest, least = (of_lr.mean(axis=0) for of_lr in (values[self._fastest], values[:, -1]))
            if np.isfinite([fastest, least]).all():
                every = {"fastest": fastest, "least": least, "difference": fastest - least}
                found[name] = {which: _mean(runs) for which, runs in every.items()}
        return found

    @cached_property
    def over_fastest(self) -> Floats:
        """1 - beta of the least momentum of the sweep over that of the fastest, (n_lr,)."""
        return np.asarray(self.one_minus_beta[:, -1] / self.one_minus_beta[self._fastest])

    @cached_property
    def _fastest(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Indices (lr, momentum) of the shortest times."""
        return np.arange(len(self.lr)), self.optima[FASTEST].time.argmin(axis=1)

    def at_end(self, name: str) -> int:
        """Number of learning rates at which the best of the sweep is its least or its most momentum: a bound, no optimum."""
        best = np.log([self.optima[name].optimum(i).value for i in range(len(self.lr))])
        ends = np.log(self.one_minus_beta[:, [0, -1]])
        return int((np.abs(best[:, None] - ends) < _END).any(axis=1).sum())

    def left_out(self, name: str) -> list[tuple[str, Estimate]]:
        """Exponents of the plain power law when learning rates are left out: each inner one alone, and from either end."""
        n = len(self.lr)
        every = np.arange(n)
        cuts = [(f"without {self.lr[i]:.3g}", every != i) for i in range(1, n - 1)] if n > 3 else []
        for k in range(3, n):
            cuts += [(f"{self.lr[0]:.3g} to {self.lr[k - 1]:.3g}", every < k)]
            cuts += [(f"{self.lr[n - k]:.3g} to {self.lr[-1]:.3g}", every >= n - k)]
        return [(text, self.optima[name].power_law(0, among).exponent) for text, among in cuts]

    def local_exponents(self, name: str) -> list[Estimate]:
        """Exponents between neighbouring learning rates, from the smallest."""
        return [self.optima[name].local_exponent(i) for i in range(len(self.lr) - 1)]

    # -- the rules ---------------------------------------------------------------------------------

    def recommended(self, method: str) -> Floats:
        """1 - beta of a rule or a baseline at every learning rate, (n_lr,); NaN where it gives none."""
        if method in BASELINES:
            return BASELINES[method][1](self.lr)
        if method == KEPT:  # the other ways to move the momentum of the first look are stored
            return moved(KEPT, self.lr, float(self.recommended(TRANSFER)[-1]))
        return np.asarray(self.data["predicted_optimum"].sel({"method": method}).values)

    def regret(self, name: str, method: str, i: int) -> Regret:
        """Time (or test loss) of a rule over the best of the sweep at learning rate i."""
        steps = float(self.data["step"].values[i].max()) if name == FASTEST else np.inf
        return regret(self.optima[name], i, float(self.recommended(method)[i]), steps)

    def worst_regret(self, name: str, method: str) -> Regret:
        """The largest regret over the learning rates; NaN where the rule gives none."""
        return worst(self.regret(name, method, i) for i in range(len(self.lr)))

    def checked(self, method: str) -> float:
        """Time of a rule's momentum at the largest learning rate over the shortest, by the trials of the first look, whose seeds
        the sweep does not use; inf: no run arrives there; NaN: the rule gives no momentum, or no trial arrives at all."""
        deltas = np.array(self.look["one_minus_beta"])
        times = np.array([np.inf if t is None else float(t) for t in self.look["time"]])
        value = float(self.recommended(method)[-1])
        if np.isnan(value) or not np.isfinite(times).any():
            return np.nan
        i = int(np.clip(np.searchsorted(deltas, value), 1, len(deltas) - 1))
        share = float(np.clip(np.log(value / deltas[i - 1]) / np.log(deltas[i] / deltas[i - 1]), 0, 1))
        ends = [(times[i - 1], 1 - share), (times[i], share)]
        at = np.exp(sum(part * np.log(time) for time, part in ends if part > 0))
        return float(at / self.look["best_time"])

    # -- the theory's assumptions ------------------------------------------------------------------

    @cached_property
    def loss_ratio(self) -> tuple[float, float]:
        """Train loss over eta c tr H / (4 delta), that of the stationary normal modes [theory: Relaxation, eq. 2.10], and its
        standard error.

        Mean over the later half of the runs at the least momentum of the sweep, at the smallest learning rate.
        """
        c = self.noise
        if c == 0 or self.configuration.get("loss") == "cross-entropy":  # whose noise-free loss is not what is least on Gamma
            return np.nan, np.nan
        step = self.data["step"].values[0]
        losses, traces = (self.data[name].values[0, -1].astype(np.float64) for name in ("train_loss", "trace_hessian"))
        until = np.median(self.data["last_step"].values[0, -1])
        late = (step >= until / 2) & (step <= until)
        floor = self.about["interpolating"]["train_loss"]
        variance = formulas.heavy_ball_stationary_variance(self.lr[0], 0.0, self.one_minus_beta[0, -1], c)
        kept_up = variance * traces[:, late] / 2
        ratios = ((losses[:, late] - floor) / kept_up).mean(axis=1)
        return float(ratios.mean()), float(ratios.std(ddof=1) / np.sqrt(len(ratios)))

    @property
    def noise(self) -> float:
        """c of the label noise; 0: none."""
        return float(self.about["noise"])

    @cached_property
    def stiffest(self) -> Floats:
        """lr times the largest eigenvalue of H over 2 (1 + beta), at the start, the largest over the momenta, (n_lr,)."""
        top = self.about["start"]["eigenvalues"][0]
        return np.asarray((self.lr[:, None] * top / (2 * (2 - self.one_minus_beta))).max(axis=1))

    def contains(self, name: str) -> bool:
        """Whether the plain power law's interval contains 2/3."""
        exponent = self.laws[name][0].exponent
        return bool(exponent.low <= EXPONENT <= exponent.high)

    def row(self, i: int) -> dict[str, Any]:
        """Optima, budget and regrets at learning rate i."""
        found: dict[str, Any] = {"lr": float(self.lr[i]), "budget": int(self.data["budget"].values[i])}
        for name, optima in self.optima.items():
            found[name] = {
                "one_minus_beta": asdict(optima.optimum(i)),
                "value": float(optima.time[i].min()),
                "rules": {
                    method: {
                        "one_minus_beta": float(self.recommended(method)[i]),
                        "regret": asdict(self.regret(name, method, i)[0]),
                        "at_least": self.regret(name, method, i)[1],
                    }
                    for method in self.methods
                },
            }
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and strings."""
        return {
            "fits": {name: [plain_law(law) for law in laws] for name, laws in self.laws.items()},
            "time_fits": [plain_law(law) for law in self.time_laws],
            **({"needed": Needed.of(self.optima[FASTEST], 1).to_dict()} if FASTEST in self.optima else {}),
            "at_end_of_sweep": {name: self.at_end(name) for name in self.optima},
            "left_out": {name: {text: asdict(e) for text, e in self.left_out(name)} for name in self.optima},
            "worst_regret": {
                name: {method: plain_regret(self.worst_regret(name, method)) for method in (*self.methods, KEPT, *BASELINES)}
                for name in self.optima
            },
            "test_metrics": {name: {which: asdict(e) for which, e in each.items()} for name, each in self.test_metrics.items()},
            "least_over_fastest": [float(x) for x in self.over_fastest] if FASTEST in self.optima else [],
            "loss_ratio": self.loss_ratio,
            "effective_loss_by_first_look": self.checked(EFFECTIVE),
            "learning_rates": [self.row(i) for i in range(len(self.lr))],
        }


def _mean(runs: Floats) -> Estimate:
    """The mean over the seeds, with Student's interval."""
    error = float(runs.std(ddof=1) / np.sqrt(len(runs)))
    wide = float(stdtrit(len(runs) - 1, 0.975)) * error
    return Estimate(float(runs.mean()), float(runs.mean()) - wide, float(runs.mean()) + wide, error)
