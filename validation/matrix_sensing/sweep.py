"""The sweep over (lr, momentum, seed): predictions, momenta around them, runs, and the Dataset of the results."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from itertools import product
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import sde_momentum as sm
from sde_momentum.core.errors import InputError
from sde_momentum.dynamics.label_noise_sgd import LANES, run_block

from ..experiment import Chunk, Configuration
from ..store import versions
from .summary import Summary

Floats = NDArray[np.float64]

GRID = np.array([0.35, 0.42, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.35, 1.7, 2.2, 3.0, 4.2, 6.0])
"""1 - beta of the sweep over the recommended one: dense near the expected optimum, up to 6, where training is slow and stable."""

N_RECORDS = 240
"""Number of equally spaced times at which a run is recorded, from 0 to the horizon."""

TORCH_STEPS = 200
"""Number of steps of the run repeated by torch."""


class Setting:
    """One configuration: problem, start, update rule and the predictor of times on the effective loss."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.problem = sm.MatrixSensing(configuration["d"], configuration["rank"], configuration["n_measurements"])
        self.start = self.problem.interpolating_start()
        self.method = sm.LabelNoiseSGD(self.problem, configuration["label_noise"], nesterov=configuration["nesterov"])
        self.predictor = sm.EffectiveLossPredictor(
            self.problem,
            self.start,
            self.method.noise,
            metric=configuration["metric"],
            fraction=configuration["fraction"],
            nesterov=configuration["nesterov"],
        )

    def check(self) -> None:
        """Raise InputError for an unreachable target or an unstable learning rate, before anything is run."""
        top = max(self.configuration["lr"])
        self.predictor.check_stable(top, min(1.0, 4 * float(self.predictor.closed_form.one_minus_beta(top))))

    def prepare(self) -> None:
        """Compute what the predictions of all learning rates share, before threads start."""
        _ = self.predictor.path.flattest

    def chunks(self) -> list[Chunk]:
        """A prediction for each learning rate."""
        rates = self.configuration["lr"]
        return [Chunk(f"predictions/lr{i:02d}.json", partial(self.predict, lr)) for i, lr in enumerate(rates)]

    def predict(self, lr: float) -> dict[str, Any]:
        """What is recommended at this learning rate; the momenta of the sweep, their predicted times and their horizons."""
        best = self.predictor.recommend(lr)
        grid = np.minimum(1.0, best.one_minus_beta * GRID)
        grid = np.where(np.append(np.diff(grid) > 0, True), grid, np.nan)
        if np.isnan(grid).any():
            highest = best.one_minus_beta * GRID[-1]
            raise InputError("--lr", lr, f"smaller: the sweep would need 1 - beta = {highest:.3g} > 1")
        predicted = self.predictor.convergence_time(lr, grid)
        # long enough for a late return above the target; well above the optimum there is none
        horizon = np.where(GRID < 1, 3 * best.time, np.where(GRID < 2, 2.0, 1.5) * predicted)
        return {
            "effective_loss": best.one_minus_beta,
            "effective_loss_time": best.time,
            "closed_form": float(self.predictor.closed_form.one_minus_beta(lr)),
            "one_minus_beta": grid.tolist(),
            "predicted_time": predicted.tolist(),
            "horizon": np.maximum(np.ceil(horizon), N_RECORDS).astype(int).tolist(),
        }


@lru_cache(maxsize=1)
def _setting(configuration: str) -> Setting:
    return Setting(json.loads(configuration))


def setting(configuration: Configuration) -> Setting:
    """The Setting of a configuration; the last one is cached, since its predictor takes a moment."""
    return _setting(json.dumps(configuration))


@dataclass(frozen=True, eq=False)
class Sweep:
    """The runs of the sweep.

    Attributes:
        setting: problem, start and update rule
        lr: (n_lr,)
        one_minus_beta: (n_lr, n_momentum): each learning rate has its own momenta
        horizon: steps of each run, (n_lr, n_momentum)
        seeds: (n_seed,), shared by all (lr, momentum): common random numbers
        metrics: what is recorded
    """

    setting: Setting
    lr: Floats
    one_minus_beta: Floats
    horizon: NDArray[np.int64]
    seeds: NDArray[np.uint64]
    metrics: Sequence[str]

    @classmethod
    def around(cls, setting: Setting, predicted: Sequence[dict[str, Any]]) -> Sweep:
        """The sweep around the predictions of all learning rates."""
        c = setting.configuration
        seeds = np.arange(c["n_seeds"], dtype=np.uint64) + (np.uint64(c["seed"]) << np.uint64(32))
        metrics = tuple(dict.fromkeys([c["metric"], "test_error", "trace_hessian", "train_loss"]))
        deltas = np.array([row["one_minus_beta"] for row in predicted])
        horizon = np.array([row["horizon"] for row in predicted], dtype=np.int64)
        return cls(setting, np.array(c["lr"]), deltas, horizon, seeds, metrics)

    def steps(self, i: int, j: int) -> NDArray[np.int64]:
        """Record times of (lr i, momentum j), (N_RECORDS,)."""
        return np.unique(np.linspace(0, self.horizon[i, j], N_RECORDS).astype(np.int64))

    @cached_property
    def blocks(self) -> list[tuple[int, int, int]]:
        """(lr i, momentum j, first seed) of blocks of up to LANES seeds."""
        n_lr, n_momentum = self.one_minus_beta.shape
        return list(product(range(n_lr), range(n_momentum), range(0, len(self.seeds), LANES)))

    def chunks(self) -> list[Chunk]:
        """One for each block; the cost is its number of steps, padding included."""
        chunks = []
        for i, j, first in self.blocks:
            n = len(self.seeds[first : first + LANES])
            shapes = {"values": (len(self.metrics), n, N_RECORDS), "diverged": (n,)}
            file, steps = f"runs/lr{i:02d}-momentum{j:02d}-seed{first:05d}.npz", int(self.horizon[i, j])
            runs = {"lr": float(self.lr[i]), "one_minus_beta": float(self.one_minus_beta[i, j]), "steps": steps}
            runs["seeds"] = self.seeds[first : first + n].tolist()
            chunks.append(Chunk(file, partial(self.run, i, j, first), steps * LANES, shapes, identity=runs))
        return chunks

    def run(self, i: int, j: int, first: int) -> dict[str, NDArray[Any]]:
        """The runs of a block: metrics in single precision, and the step at which a run diverged, or -1."""
        seeds = self.seeds[first : first + LANES]
        momentum = 1 - self.one_minus_beta[i, j]
        method, start = self.setting.method, self.setting.start
        values, diverged = run_block(method, start, self.lr[i], momentum, seeds, self.steps(i, j), self.metrics)
        return {"values": values.astype(np.float32), "diverged": diverged}

    def collect(self, found: Sequence[dict[str, NDArray[Any]]]) -> xr.Dataset:
        """All blocks as one Dataset of dims (lr, momentum, seed, time)."""
        shape = (*self.one_minus_beta.shape, len(self.seeds))
        values = np.empty((len(self.metrics), *shape, N_RECORDS), dtype=np.float32)
        diverged = np.empty(shape, dtype=np.int64)
        for (i, j, first), arrays in zip(self.blocks, found, strict=True):
            cut = (i, j, slice(first, first + LANES))
            values[:, *cut] = arrays["values"]
            diverged[cut] = arrays["diverged"]
        n_lr, n_momentum = self.one_minus_beta.shape
        steps = np.array([[self.steps(i, j) for j in range(n_momentum)] for i in range(n_lr)])
        dims = ("lr", "momentum", "seed", "time")
        known = self.setting.problem.metrics
        metrics = {name: (dims, values[m], known[name].attributes) for m, name in enumerate(self.metrics)}
        note = {"long_name": "step at which the run diverged, -1: none", "units": "steps"}
        return xr.Dataset(
            {**metrics, "diverged": (dims[:3], diverged, note)},
            coords={
                "lr": ("lr", self.lr, {"long_name": "learning rate eta", "units": "1"}),
                "one_minus_beta": (dims[:2], self.one_minus_beta, {"long_name": "1 - momentum", "units": "1"}),
                "seed": ("seed", self.seeds.astype(np.int64), {"long_name": "seed of the run", "units": "1"}),
                "step": (("lr", "momentum", "time"), steps, {"long_name": "updates done", "units": "steps"}),
            },
        )


def dataset(
    sweep: Sweep, found: Sequence[dict[str, NDArray[Any]]], predicted: Sequence[dict[str, Any]], command: str
) -> xr.Dataset:
    """Runs, convergence times and predictions, with units, the full configuration and the command that repeats it."""
    from .torch_sgd import difference  # torch takes seconds to load: import it after the input was checked

    setting = sweep.setting
    configuration, predictor = setting.configuration, setting.predictor
    rows = {name: [row[name] for row in predicted] for name in predicted[0]}
    data = sweep.collect(found)
    metric, fraction = configuration["metric"], configuration["fraction"]
    step = data["step"].broadcast_like(data[metric]).transpose(*data[metric].dims)
    times = sm.convergence_time(data[metric].values, step.values, fraction)
    grid, steps = ("lr", "momentum"), {"units": "steps"}
    note = f"after which {metric} stays below {fraction} of its start; inf: not within the run"
    optima = [rows["effective_loss"], rows["closed_form"]]
    recommended = {"long_name": "predicted at the recommendation of L_eff", **steps}
    delta = float(sweep.one_minus_beta[-1, -1])
    curvature, amplitude = predictor.path.curvature, predictor.path.amplitude
    flattest = predictor.path.flattest.w
    data = data.assign(
        convergence_time=((*grid, "seed"), times, {"long_name": note, **steps}),
        predicted_time=(grid, rows["predicted_time"], {"long_name": "the same, predicted by L_eff", **steps}),
        predicted_optimum=(("method", "lr"), optima, {"long_name": "recommended 1 - momentum", "units": "1"}),
        recommended_time=("lr", rows["effective_loss_time"], recommended),
    )
    data = data.assign_coords(method=["effective loss", "closed form"]).assign_attrs(
        configuration=json.dumps(configuration),
        command=command,
        versions=json.dumps(versions("numpy", "scipy", "numba", "xarray", "torch")),
        noise=setting.method.noise,
        curvature=curvature,
        amplitude=amplitude,
        trace_hessian_start=float(setting.problem.trace_hessian(setting.start)),
        trace_hessian_flattest=float(setting.problem.trace_hessian(flattest)),
        torch_difference=difference(setting.method, setting.start, configuration["lr"][-1], 1 - delta, 0, TORCH_STEPS),
    )
    return data.assign_attrs(Summary(data).rule)
