"""Convergence times of training at one scaled momentum D, against their limit as lr -> 0.

At 1 - beta = D (c lr^2)^(1/3) the steps times (c lr^2)^(1/3) tend to tau(D) [theory: Critical limit, eq. 7.9]. The effective
loss, without fluctuations of the energies, predicts another limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sde_momentum as sm
from sde_momentum.predictors.curve.settings import CurveSettings
from sde_momentum.predictors.measured_optimum import PowerLaw
from sde_momentum.predictors.ways.critical_limit import ByCriticalLimit
from sde_momentum.predictors.ways.effective_loss import ByEffectiveLoss

from ..cases import CASES, Case
from ..estimates import fitted_laws
from ..mean_times import mean_times

Floats = NDArray[np.float64]

_MORE = 1.3
"""D over that of the shortest time: far enough from the cliff, where the time jumps."""
_LIMIT = 1e-6
"""The learning rate at which the limit of the effective loss is taken: on the valleys it has 6 digits there."""
_N_RECORDS = 400
_CLEAR = 2.0
"""Number of standard errors from 0 from which on an error counts in the fit of the power of lr."""


@dataclass(frozen=True)
class Approach:
    """The convergence time on one problem against lr, and its limits as lr -> 0.

    Attributes:
        case: its name
        scaled: D
        lr: (n,)
        time, time_se: steps times (c lr^2)^(1/3) in training, and the standard error, (n,)
        limits: name of the limit -> (tau, standard error)
    """

    case: str
    scaled: float
    lr: list[float]
    time: list[float]
    time_se: list[float]
    limits: dict[str, tuple[float, float]]

    def error(self, limit: str) -> tuple[Floats, Floats]:
        """Time over the limit, less 1, at every lr, and its standard error, both (n,)."""
        value, se = self.limits[limit]
        ratio = np.array(self.time) / value
        return ratio - 1, np.hypot(np.array(self.time_se) / value, ratio * se / value)

    def laws(self, limit: str) -> list[PowerLaw]:
        """Power laws of the error in lr, fitted to the significant errors; none with fewer than 3."""
        error, se = self.error(limit)
        clear = np.abs(error) > _CLEAR * se
        size = np.abs(error[clear])
        return fitted_laws(np.array(self.lr)[clear], size, se[clear] / size) if clear.sum() > 2 else []

    def power(self, limit: str) -> tuple[float, float] | None:
        """a of the plain power law error ~ lr^a and its standard error, enlarged where the law does not fit; None: no law."""
        if not (laws := self.laws(limit)):
            return None
        spread = np.sqrt(max(1.0, laws[0].chi2 / laws[0].freedom))
        return laws[0].exponent.value, float(laws[0].exponent.standard_error * spread)


def cases(names: tuple[str, ...]) -> list[Case]:
    """The cases of these names."""
    return [case for case in CASES if case.name in names]


def measure(
    case: Case,
    rates: Sequence[float],
    share: float,
    precision: float,
    seed: int,
    curves: Path,
    workers: int,
    report: Callable[[float], object],
) -> dict[str, Any]:
    """Measure the times of one problem at every learning rate and compute the limits: the fields of an Approach.

    Args:
        case: the problem
        rates: learning rates
        share: number of runs over that of the case
        precision: relative standard error of the curve's shortest time
        seed: of the label noise
        curves: folder where simulated curves of the critical limit are kept
        workers: threads; -1: every core
        report: called with shares of the work, of sum 1
    """
    problem, start = case.make()
    method = sm.LabelNoiseSGD(problem, case.label_noise)
    goal, how = (case.metric, case.fraction), CurveSettings(precision=precision, seed=seed)
    curve = sm.universal_curve(problem, start, goal, settings=how, store=curves, workers=workers)
    known = np.isfinite(curve.scaled_time_se)
    point = int(np.flatnonzero(known & (curve.scaled_one_minus_beta >= _MORE * curve.scaled_one_minus_beta[curve.best]))[0])
    scaled = float(curve.scaled_one_minus_beta[point])
    effective = sm.EffectiveLossPredictor(problem, start, method.noise, metric=case.metric, fraction=case.fraction)
    small = _scale(method.noise, _LIMIT)
    limit = float(effective.convergence_time(_LIMIT, [scaled * small])[0]) * small
    seeds = seed * 1_000_003 + np.arange(max(32, int(share * case.n_seeds)))
    times, errors = [], []
    for lr in rates:
        scale = _scale(method.noise, lr)
        longest = 2.5 * float(curve.scaled_time[point]) / scale
        clock = np.unique(np.linspace(0, longest, _N_RECORDS).astype(int))
        course = sm.solve(
            method, start, clock, lr=lr, momentum=1 - scaled * scale, seeds=seeds, metrics=[case.metric],
            workers=workers, progress=False,
        )  # fmt: skip
        time, resampled = mean_times([(clock, course[case.metric].values[0, 0])], case.fraction, seed)
        times.append(float(time[0]) * scale)
        errors.append(float(resampled[:, 0].std()) * scale)
        report(1 / len(rates))
    critical = float(curve.scaled_time[point]), float(curve.scaled_time_se[point])
    limits = {ByEffectiveLoss.name: (limit, 0.0), ByCriticalLimit.name: critical}
    return asdict(Approach(case.name, scaled, list(rates), times, errors, limits))


def _scale(noise: float, lr: float) -> float:
    """(c eta^2)^(1/3), without the finite-lr factor of `UniversalCurve.scale`, which is part of the error measured here."""
    return float(np.cbrt(noise * lr**2))
