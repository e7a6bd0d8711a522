"""Runs of a small model at one learning rate after another, and the Dataset of all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import sde_momentum as sm
from sde_momentum.core.errors import InputError
from sde_momentum.dynamics.label_noise_sgd import LANES, run_block
from sde_momentum.predictors.recommendation import largest_within

from ..cases import UNSEEN, Case
from ..experiment import Configuration
from ..mean_times import mean_times
from ..needed import WITHIN
from ..predictions.sweep import SETTLED, clock_until
from ..store import versions

Floats = NDArray[np.float64]

FACTOR = 10**0.5
"""Between neighbouring learning rates."""
LOOK = 0.4 * 1.7 ** -np.arange(17.0)[::-1]
"""1 - beta of the first look, at the largest learning rate."""
GRID = np.geomspace(1 / 8, 2.5, 17)
"""1 - beta of the sweep over the needed one of the learning rate before, moved by lr^(2/3)."""
_FIRST, _TRIES = 1_000, 7
"""Steps of the first look, which are tripled up to so many times until the shortest time fits in HORIZON times."""
HORIZON, LONGEST = 4.0, 12.0
"""Least and largest number of steps of a run over the shortest time; in between it is SETTLED / (1 - beta)."""
RESAMPLED = "resampled_time"
_UNIT, _NEVER = 1e-3, 32767
"""Of `packed`: the unit of logarithms, and the number that stands for inf."""
_LOOK_SEED = 1 << 31


@dataclass(frozen=True)
class Asked:
    """The runs of a model at one learning rate: 1 - beta and number of steps of each momentum, (n_momentum,)."""

    lr: float
    one_minus_beta: tuple[float, ...]
    horizon: tuple[int, ...]

    @property
    def steps(self) -> int:
        """In all."""
        return sum(self.horizon)

    @property
    def identity(self) -> dict[str, Any]:
        """As plain data."""
        return {"lr": self.lr, "one_minus_beta": list(self.one_minus_beta), "steps": list(self.horizon)}


@dataclass(frozen=True)
class Model:
    """A model with its target, and the seeds of its runs, which all learning rates and momenta share."""

    case: Case
    n_seeds: int
    seed: int

    @classmethod
    def of(cls, name: str, configuration: Configuration) -> Model:
        """The model of this name in a configuration."""
        (case,) = (case for case in UNSEEN if case.name == name)
        return cls(case, configuration["n_seeds"], configuration["seed"])

    @property
    def word(self) -> str:
        """Its name in those of files."""
        return "-".join("".join(letter if letter.isalnum() else " " for letter in self.case.name).split())

    @cached_property
    def _made(self) -> tuple[sm.LabelNoiseSGD, Floats]:
        problem, start = self.case.make()
        return sm.LabelNoiseSGD(problem if self.case.compiled is None else self.case.compiled(), self.case.label_noise), start

    def prepare(self) -> None:
        """Compile the model, before threads start."""
        self._times(self.lr(0), [0.5], [1], self._seeds(1))

    @property
    def cost(self) -> float:
        """Of a step, roughly: the size of the Jacobian."""
        problem = self._made[0].problem
        return float(problem.n_outputs * problem.n_parameters)

    def lr(self, i: int) -> float:
        """Learning rate i, from the largest down."""
        return float(f"{self.case.lr[1] / FACTOR**i:.3g}")

    def look(self) -> dict[str, float]:
        """The needed 1 - beta at the largest learning rate, and the shortest time."""
        seeds, guess = self._seeds(LANES) + np.uint64(_LOOK_SEED), _FIRST / HORIZON
        for _ in range(_TRIES):
            times, _ = self._times(self.lr(0), LOOK, [horizon(delta, guess) for delta in LOOK], seeds)
            if times.min() <= guess:
                break
            guess *= 3
        else:
            raise InputError("--case", self.case.name, f"a model that reaches its target in {guess:,.0f} steps")
        return {"one_minus_beta": largest_within(LOOK, times, WITHIN * times.min())[0], "time": float(times.min())}

    def asked(self, i: int, centre: dict[str, float]) -> Asked:
        """The runs at learning rate i around the momentum that is expected there, with the expected shortest time."""
        deltas = (min(centre["one_minus_beta"], 1 / GRID[-1]) * GRID).tolist()
        return Asked(self.lr(i), tuple(deltas), tuple(int(np.ceil(horizon(delta, centre["time"]))) for delta in deltas))

    def run(self, asked: Asked) -> dict[str, NDArray[Any]]:
        """Times of the mean over the runs, (n_momentum,), and of resampled runs, (N_RESAMPLES, n_momentum)."""
        times, resampled = self._times(asked.lr, asked.one_minus_beta, asked.horizon, self._seeds(self.n_seeds))
        return {
            "one_minus_beta": np.array(asked.one_minus_beta),
            "horizon": np.array(asked.horizon),
            "time": times,
            "resampled": resampled,
        }

    def centre(self, i: int, found: dict[str, NDArray[Any]]) -> dict[str, float]:
        """The needed 1 - beta of learning rate i and the shortest time, moved to the next by lr^(2/3)."""
        scale, times = (self.lr(i + 1) / self.lr(i)) ** (2 / 3), found["time"]
        if not np.isfinite(times).any():
            raise InputError("--case", self.case.name, f"a model that reaches its target at lr {self.lr(i):.3g}")
        least, _ = largest_within(found["one_minus_beta"], times, WITHIN * times.min())
        return {"one_minus_beta": least * scale, "time": float(times.min()) / scale}

    def _seeds(self, n: int) -> NDArray[np.uint64]:
        return np.arange(n, dtype=np.uint64) + (np.uint64(self.seed) << np.uint64(32))

    def _times(
        self, lr: float, deltas: Sequence[float] | Floats, horizons: Sequence[float], seeds: NDArray[np.uint64]
    ) -> tuple[Floats, Floats]:
        """After which step the mean of tr H over the runs stays below the target, (n_momentum,), and the same of resampled runs,
        (N_RESAMPLES, n_momentum); infinite where it does not."""
        method, start = self._made
        courses = []
        for delta, until in zip(deltas, horizons, strict=True):
            steps, metric = clock_until(until), [self.case.metric]
            parts = [
                run_block(method, start, lr, 1 - delta, seeds[first : first + LANES], steps, metric)[0][0]
                for first in range(0, len(seeds), LANES)
            ]
            courses.append((steps, np.concatenate(parts)))
        return mean_times(courses, self.case.fraction, self.seed)


def horizon(delta: float, shortest: float) -> float:
    """Steps of the runs with a 1 - beta of `delta`: until fluctuations are stationary, as for predictions, but not beyond LONGEST
    times the shortest time; and long enough for momenta that are slow, whose time grows with 1 - beta."""
    return float(np.clip(SETTLED / delta, HORIZON * shortest, LONGEST * shortest))


def dataset(
    models: Sequence[Model], found: Sequence[Sequence[dict[str, NDArray[Any]]]], configuration: Configuration, command: str
) -> xr.Dataset:
    """Times of all models, by increasing learning rate, with units, the configuration and the command that repeats them."""

    def gathered(name: str) -> NDArray[Any]:
        return np.array([[row[i][name] for row in reversed(found)] for i in range(len(models))])

    dims, one, steps = ("model", "rate", "momentum"), {"units": "1"}, {"units": "steps"}
    lr = np.array([[model.lr(i) for i in reversed(range(len(found)))] for model in models])
    packing = {"long_name": f"{1 / _UNIT:.0f} ln(time by resampled runs, alike for all, over the shortest); {_NEVER}: inf", **one}
    note = "time after which the mean of tr H over the runs stays below its target; inf: not within the runs"
    return xr.Dataset(
        {
            "convergence_time": (dims, gathered("time"), {"long_name": note, **steps}),
            RESAMPLED: (("model", "rate", "resample", "momentum"), packed(gathered("resampled"), gathered("time")), packing),
            "last_step": (dims, gathered("horizon"), {"long_name": "last step of the runs", **steps}),
            "target": (
                "model",
                [model.case.fraction for model in models],
                {"long_name": "target of tr H over its start", **one},
            ),
        },
        coords={
            "model": [model.case.name for model in models],
            "lr": (dims[:2], lr, {"long_name": "learning rate eta", **one}),
            "one_minus_beta": (dims, gathered("one_minus_beta"), {"long_name": "1 - momentum", **one}),
        },
        attrs={
            "configuration": json.dumps(configuration),
            "command": command,
            "versions": json.dumps(versions("numpy", "scipy", "numba", "xarray")),
        },
    )


def packed(resampled: Floats, times: Floats) -> NDArray[np.int16]:
    """Times by resampled runs as small whole numbers, for a small file: to 0.05 %, far below their spread.

    Args:
        resampled: (..., n_resamples, n_momentum)
        times: (..., n_momentum), of which the shortest is the unit
    """
    with np.errstate(invalid="ignore"):
        found = np.rint(np.log(resampled / times.min(axis=-1)[..., None, None]) / _UNIT)
    return np.where(np.isfinite(found), np.clip(found, -_NEVER, _NEVER - 1), _NEVER).astype(np.int16)


def unpacked(found: NDArray[np.int16], times: Floats) -> Floats:
    """What `packed` was given.

    >>> times = np.array([10.0, 8.0, np.inf])
    >>> unpacked(packed(times[None], times), times).round(2)
    array([[10.,  8., inf]])
    """
    return np.where(found == _NEVER, np.inf, times.min(axis=-1)[..., None, None] * np.exp(_UNIT * found.astype(np.float64)))
