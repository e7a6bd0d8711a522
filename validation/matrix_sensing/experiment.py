"""Matrix sensing from an interpolating start: convergence times in a sweep of lr and momentum, against the predictions
[theory: Effective loss; Ways to predict].

The model of Cowsik, Can, Glorioso's first experiment (arXiv 2210.16400), full batch: the start interpolates, then label
noise is switched on and w drifts to the flattest solution, the hidden matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import sde_momentum as sm
from sde_momentum.core.errors import check_integer, check_positive
from sde_momentum.core.options import Option, fill

from ..experiment import Configuration, Experiment, Plan, Spread, Stage, collecting, learning_rates, shared_options
from ..store import RESULTS


@dataclass(frozen=True)
class Profile:
    """Amount of work of a profile: learning rates, and number of runs for each (lr, momentum)."""

    lr: tuple[float, ...]
    n_seeds: int


def _decades(low: float, high: float, n: int) -> tuple[float, ...]:
    return tuple(float(f"{x:.3g}") for x in np.geomspace(low, high, n))


class MatrixSensing(Experiment):
    """A d x d matrix from Gaussian measurements, by two factors."""

    def configuration(self, given: Mapping[str, Any]) -> Configuration:
        """Everything that the results depend on, checked."""
        given = fill(self.options, given)
        profile = self.profile(given)
        return {
            "experiment": self.name,
            "profile": given["profile"],
            "lr": learning_rates(given["lr"] or profile.lr),
            "n_seeds": check_integer(profile.n_seeds if given["seeds"] is None else given["seeds"], "--seeds", 2),
            "seed": self.seed(given),
            "d": given["d"],
            "rank": given["rank"],
            "n_measurements": given["measurements"],
            "label_noise": float(check_positive(given["label_noise"], "--label-noise")),
            "metric": given["metric"],
            "fraction": given["fraction"],
            "nesterov": given["nesterov"],
            "version": sm.__version__,
        }

    def check(self, configuration: Configuration) -> None:
        """Raise InputError for impossible sizes, an unreachable target, or an unstable learning rate."""
        from .sweep import setting

        setting(configuration).check()

    def plan(self, configuration: Configuration, folder: Path, given: Mapping[str, Any]) -> Plan:
        """Predictions for each learning rate; the sweep around them; one Dataset of both."""
        from .sweep import Sweep, dataset, setting

        chosen = setting(configuration)
        chosen.prepare()
        predicted = yield Stage("predicting", chosen.chunks(), Spread.THREADS)
        sweep = Sweep.around(chosen, predicted)
        found = yield Stage("training", sweep.chunks(), Spread.THREADS)
        yield collecting(RESULTS, partial(dataset, sweep, found, predicted, self.command(configuration)))


EXPERIMENT = MatrixSensing(
    name="matrix-sensing",
    title="Matrix sensing: the best momentum, predicted and measured",
    help="Matrix sensing from an interpolating start: sweep lr and momentum, compare with every prediction.",
    options=(
        *shared_options("quick (a minute or two) or full (tens of minutes)", "of the label noise"),
        Option("lr", list[float], None, "learning rate; repeat for several (default: those of the profile)"),
        Option("seeds", int, None, "number of runs for each (lr, momentum) (default: that of the profile)"),
        Option("d", int, 8, "the matrix is d x d"),
        Option("rank", int, 1, "rank of the hidden matrix"),
        Option("measurements", int, 40, "number of measurements"),
        Option("label_noise", float, 0.1, "standard deviation sigma of the label noise"),
        Option("metric", str, "test_error", "metric of the target: test_error or trace_hessian"),
        Option("fraction", float, 0.1, "target: --metric stays below this fraction of its start"),
        Option("nesterov", bool, False, "Nesterov momentum: the gradient is taken at w + beta v"),
    ),
    profiles={"quick": Profile(_decades(1e-4, 1e-1, 7), 64), "full": Profile(_decades(1e-5, 1e-1, 9), 256)},
    spelling={"n_seeds": "seeds", "n_measurements": "measurements"},
)
