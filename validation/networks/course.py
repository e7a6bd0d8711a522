"""The course of training: tr H and test loss over time, predicted by training on the effective loss without noise, and measured
[theory: Effective loss, eq. 5.1]."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import stdtrit

from .effective_loss import effective_course
from .plan import Ground
from .task import METRICS, to_tensors

Floats = NDArray[np.float64]

COMPARED = ("trace_hessian", "test_loss")
"""Metrics whose courses are compared."""
N_MOMENTA = 4


def predict(ground: Ground, results: xr.Dataset) -> xr.Dataset:
    """METRICS of training on the effective loss at the middle learning rate of a sweep, at four of its momenta and its steps, as
    long as every run of that momentum goes on: (momentum, time)."""
    i = results.sizes["lr"] // 2
    n = int(np.isfinite(results["one_minus_beta"].values[i]).sum())
    which = np.unique(np.rint(np.linspace(n // 4, n - 1, N_MOMENTA)).astype(int))
    data = results.isel(lr=i, momentum=which)
    until = int(data["last_step"].values.min(axis=1).max())
    step = data["step"].values
    step = step[(step >= 0) & (step <= until)]
    task = ground.task
    found = effective_course(
        task, to_tensors(ground.start, task.inputs), ground.noise, float(data["lr"]), data["one_minus_beta"].values, step
    )
    units = {name: {"long_name": f"{text}, on the effective loss", "units": unit} for name, (text, unit) in METRICS.items()}
    return xr.Dataset(
        {name: (("momentum", "time"), values, units[name]) for name, values in found.items()},
        coords={
            "one_minus_beta": ("momentum", data["one_minus_beta"].values, {"long_name": "1 - momentum", "units": "1"}),
            "step": ("time", step, {"long_name": "updates done", "units": "steps"}),
        },
        attrs={"lr": float(data["lr"])},
    )


@dataclass(frozen=True)
class Difference:
    """Where a predicted course is farthest from the measured one: (predicted - measured) / measured start, with the standard
    error of the measured mean, and the step."""

    value: float
    standard_error: float
    step: int


@dataclass(frozen=True, eq=False)
class Course:
    """A predicted course beside the measured one.

    Attributes:
        predicted: of `predict`
        results: the sweep's Dataset
    """

    predicted: xr.Dataset
    results: xr.Dataset

    @property
    def lr(self) -> float:
        """Learning rate."""
        return float(self.predicted.attrs["lr"])

    @property
    def one_minus_beta(self) -> Floats:
        """1 - beta of each course, (n_momentum,)."""
        return np.asarray(self.predicted["one_minus_beta"].values)

    @cached_property
    def _runs(self) -> xr.Dataset:
        """The measured runs of the same momenta and steps."""
        data = self.results.isel(lr=int(np.argmin(np.abs(self.results["lr"].values - self.lr))))
        columns = [int(np.argmin(np.abs(data["one_minus_beta"].values - delta))) for delta in self.one_minus_beta]
        return data.isel(momentum=columns, time=slice(0, self.predicted.sizes["time"]))

    def steps(self, j: int) -> NDArray[np.bool_]:
        """The steps at which all runs of momentum j go on and neither they nor the prediction have diverged, (n_time,)."""
        finite = [
            np.isfinite(self._runs[metric].values[j]).all(axis=0) & np.isfinite(self.predicted[metric].values[j])
            for metric in COMPARED
        ]
        going = self.predicted["step"].values <= self._runs["last_step"].values[j].min()
        return np.asarray(going & np.logical_and.accumulate(np.all(finite, axis=0)))

    def measured(self, metric: str, j: int) -> tuple[Floats, Floats]:
        """Mean over the seeds and its standard error at `steps(j)`."""
        runs = self._runs[metric].values[j][:, self.steps(j)].astype(np.float64)
        return runs.mean(axis=0), runs.std(axis=0, ddof=1) / np.sqrt(len(runs))

    @property
    def reach(self) -> float:
        """Half of the 95 % interval of a measured mean over its standard error, by Student's t."""
        return float(stdtrit(self._runs.sizes["seed"] - 1, 0.975))

    def expected(self, metric: str, j: int) -> Floats:
        """The prediction at `steps(j)`."""
        return np.asarray(self.predicted[metric].values[j][self.steps(j)], dtype=np.float64)

    def farthest(self, metric: str, j: int) -> Difference:
        """The largest difference."""
        mean, error = self.measured(metric, j)
        gap = (self.expected(metric, j) - mean) / mean[0]
        k = int(np.argmax(np.abs(gap)))
        return Difference(float(gap[k]), float(error[k] / mean[0]), int(self.predicted["step"].values[self.steps(j)][k]))

    def to_dict(self) -> dict[str, Any]:
        """The largest difference of each course, by metric."""
        rows = range(len(self.one_minus_beta))
        return {
            "lr": self.lr,
            "one_minus_beta": self.one_minus_beta.tolist(),
            **{metric: [vars(self.farthest(metric, j)) for j in rows] for metric in COMPARED},
        }
