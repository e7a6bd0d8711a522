"""From accuracies over lr and momentum: the best momentum, its power of lr, and the points that rules lose, all by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from sde_momentum.predictors.measured_optimum import Estimate, PowerLaw

Floats = NDArray[np.float64]

_NEAR = 2
"""Neighbours on each side of the best momentum through which the parabola goes."""
_BELOW = 3.0
"""Points below the best from which a neighbour is left out: beyond a cliff a parabola is no guide."""
TUNED = {"lr^(2/3)": 2 / 3, "lr": 1.0, "lr^(1/2)": 0.5, "fixed": 0.0}
"""Rules that take the momentum tuned at the largest lr elsewhere: name -> the power of lr as which 1 - beta goes."""
FOLK = {"1 - beta = 2 sqrt(lr)": lambda lr: min(1.0, 2 * lr**0.5), "momentum 0.9": lambda lr: 0.1}
"""Rules that nothing is tuned for: name -> 1 - beta at an lr."""


def best(one_minus_beta: Floats, score: Floats) -> float:
    """The 1 - beta of the best score, by a parabola in ln(1 - beta) through the best value and its neighbours.

    Args:
        one_minus_beta: of a grid, decreasing, (M,)
        score: accuracies in percent, (M,)
    """
    x, at = np.log(one_minus_beta), int(np.argmax(score))
    near = np.arange(max(0, at - _NEAR), min(len(x), at + _NEAR + 1))
    near = near[score[near] > score[at] - _BELOW]
    if len(near) < 3:
        return float(one_minus_beta[at])
    bend, slope, _ = np.polyfit(x[near] - x[at], score[near], 2)
    if bend >= 0:
        return float(one_minus_beta[at])
    limit = sorted(x[near] - x[at])
    return float(one_minus_beta[at] * np.exp(np.clip(-slope / (2 * bend), limit[0], limit[-1])))


def at(delta: float, one_minus_beta: Floats, score: Floats) -> float:
    """The score at any 1 - beta, interpolated in its logarithm."""
    return float(np.interp(np.log(delta), np.log(one_minus_beta)[::-1], score[::-1]))


@dataclass(frozen=True)
class Sweep:
    """Accuracies of one kind of training.

    Attributes:
        lr: decreasing, (L,)
        one_minus_beta: decreasing, (M,)
        score: percent, (L, M, S) for S seeds
    """

    lr: Floats
    one_minus_beta: Floats
    score: Floats

    def optima(self) -> tuple[Floats, Floats]:
        """Best 1 - beta of the mean over seeds, and of each seed, (L,) and (L, S)."""
        mean = np.array([best(self.one_minus_beta, row) for row in self.score.mean(2)])
        return mean, np.array([[best(self.one_minus_beta, curve) for curve in row.T] for row in self.score])

    def laws(self) -> list[PowerLaw]:
        """The plain power law of the best 1 - beta, and from 4 learning rates on that with one correction, fitted to each seed:
        means over the seeds, with 95 % intervals by Student's t; chi squared of the mean curve, with the errors of all learning
        rates pooled."""
        optima = np.log(self.optima()[1])
        n_seeds, found = optima.shape[1], []
        error = max(float(np.sqrt(optima.var(axis=1, ddof=1).mean() / n_seeds)), 1e-12)
        for order in (0, 1) if len(self.lr) > 3 else (0,):
            powers = [np.cbrt(self.lr) ** (i + 1) for i in range(order)]
            design = np.stack([np.ones_like(self.lr), np.log(self.lr), *powers], axis=1)
            by_seed = (np.linalg.pinv(design) @ optima).T
            prefactor, exponent, *corrections = (self._mean(column) for column in by_seed.T)
            chi2 = float(np.sum(((design @ by_seed.mean(0) - optima.mean(1)) / error) ** 2))
            c, low, high = (float(np.exp(x)) for x in (prefactor.value, prefactor.low, prefactor.high))
            found.append(
                PowerLaw(
                    exponent,
                    Estimate(c, low, high, c * prefactor.standard_error),
                    tuple(corrections),
                    chi2,
                    len(self.lr) - design.shape[1],
                    by_seed.mean(0),
                    by_seed,
                    optima.size - len(optima),
                )
            )
        return found

    @staticmethod
    def _mean(values: Floats) -> Estimate:
        """Mean over the seeds, with its 95 % interval by Student's t."""
        value, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
        half = float(student.ppf(0.975, len(values) - 1)) * error
        return Estimate(value, value - half, value + half, error)

    def lost(self) -> dict[str, tuple[Floats, Floats]]:
        """Points that each rule loses against the best momentum at each lr, with standard errors, (L,) each.

        Of every seed, against the best momentum of the others, from which the rule is tuned too: the best of noisy values would
        be too good.
        """
        by_seed: dict[str, list[list[float]]] = {name: [] for name in (*TUNED, *FOLK)}
        for s in range(self.score.shape[2]):
            others = np.delete(self.score, s, 2).mean(2)
            tops = [best(self.one_minus_beta, row) for row in others]
            asked = {name: [tops[0] * (lr / self.lr[0]) ** power for lr in self.lr] for name, power in TUNED.items()}
            asked |= {name: [rule(lr) for lr in self.lr] for name, rule in FOLK.items()}
            for name, deltas in asked.items():
                by_seed[name].append(self._loses(self.score[:, :, s], tops, deltas))
        found = {}
        for name, rows in by_seed.items():
            lost = np.array(rows)
            found[name] = lost.mean(0), lost.std(0, ddof=1) / np.sqrt(len(lost))
        return found

    def _loses(self, score: Floats, tops: Sequence[float], deltas: Sequence[float]) -> list[float]:
        rows = zip(score, tops, deltas, strict=True)
        return [at(top, self.one_minus_beta, row) - at(delta, self.one_minus_beta, row) for row, top, delta in rows]
