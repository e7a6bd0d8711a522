"""Matrix sensing from an interpolating start: the time for the test error to fall, against the predicted
[theory: Effective loss; Ways to predict].

The model of Cowsik, Can, Glorioso's first experiment (arXiv 2210.16400), full batch: the start interpolates, then label
noise is switched on and w slides to the flattest solution, the hidden matrix.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from joblib import Parallel, delayed

import sde_momentum as sm
from sde_momentum.core.errors import InputError, check_integer, check_lr, check_positive
from sde_momentum.core.threads import one_blas_thread

from . import sweep
from .store import Folder, read_json, versions, write_json

NAME = "matrix-sensing"
RESULTS = "results.nc"
PREDICTIONS = "predictions"

GRID = np.array([0.35, 0.42, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.35, 1.7, 2.2, 3.0, 4.2, 6.0])
"""1 - beta of the sweep over the recommended: dense where the optimum is expected, to 6 times it on the safe side."""

N_RECORDS = 240

TORCH_STEPS = 200
"""Steps of the run that is repeated by torch."""


@dataclass(frozen=True)
class Profile:
    """How much a profile runs."""

    lr: tuple[float, ...]
    n_seeds: int


def _decades(low: float, high: float, n: int) -> tuple[float, ...]:
    return tuple(float(f"{x:.3g}") for x in np.geomspace(low, high, n))


PROFILES = {
    "quick": Profile(_decades(1e-4, 1e-1, 7), 64),
    "full": Profile(_decades(1e-5, 1e-1, 9), 256),
}


@dataclass(frozen=True)
class Options:
    """What the user asked for; None: the profile's own."""

    profile: str = "quick"
    lr: tuple[float, ...] | None = None
    n_seeds: int | None = None
    seed: int = 0
    d: int = 8
    rank: int = 1
    n_measurements: int = 40
    label_noise: float = 0.1
    metric: str = "test_error"
    fraction: float = 0.1
    nesterov: bool = False

    def configuration(self) -> dict[str, Any]:
        """Everything that the results depend on, checked."""
        if self.profile not in PROFILES:
            raise InputError("--profile", self.profile, ", ".join(PROFILES))
        profile = PROFILES[self.profile]
        check_integer(self.seed, "--seed", 0)
        rates = sorted(set(check_lr(self.lr or profile.lr, "--lr").tolist()))
        if len(rates) < 3:
            raise InputError("--lr", f"{len(rates)} learning rates", "at least 3, for the fit")
        return {
            "experiment": NAME,
            **asdict(self),
            "lr": rates,
            "n_seeds": check_integer(profile.n_seeds if self.n_seeds is None else self.n_seeds, "--seeds", 2),
            "label_noise": float(check_positive(self.label_noise, "--label-noise")),
            "version": sm.__version__,
        }


def command(configuration: dict[str, Any]) -> str:
    """The command that reproduces this configuration."""
    default = asdict(Options(profile=configuration["profile"]))
    profile = PROFILES[configuration["profile"]]
    words = ["sde-momentum", "validate", NAME, "--profile", configuration["profile"], "--seed", str(configuration["seed"])]
    if tuple(configuration["lr"]) != profile.lr:
        words += [word for lr in configuration["lr"] for word in ("--lr", repr(lr))]
    if configuration["n_seeds"] != profile.n_seeds:
        words += ["--seeds", str(configuration["n_seeds"])]
    for name in ("d", "rank", "n_measurements", "label_noise", "metric", "fraction"):
        if configuration[name] != default[name]:
            words += [f"--{name.replace('n_', '').replace('_', '-')}", str(configuration[name])]
    return " ".join([*words, *(["--nesterov"] if configuration["nesterov"] else [])])


class Experiment:
    """One configuration of the experiment: problem, start, method and predictor."""

    def __init__(self, configuration: dict[str, Any]) -> None:
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
        """Raise for a target that cannot be reached or an unstable learning rate, before anything is run."""
        top = max(self.configuration["lr"])
        self.predictor.check_stable(top, min(1.0, 4 * float(self.predictor.closed_form.one_minus_beta(top))))

    def plan(self, folder: Path, workers: int, report: Callable[[int], None]) -> dict[str, Any]:
        """Predictions, and the sweep around them; `report(1)` after each learning rate.

        A prediction that `folder` holds already is not made again.
        """
        (folder / PREDICTIONS).mkdir(exist_ok=True)
        rates = self.configuration["lr"]
        point = self.predictor.path.flattest  # made before the threads start
        files = [folder / PREDICTIONS / f"lr{i:02d}.json" for i in range(len(rates))]
        jobs = (delayed(self._predict)(file, lr) for file, lr in zip(files, rates, strict=True))
        # around all threads: each would give BLAS its threads back while others still compute
        with one_blas_thread():
            for _ in Parallel(n_jobs=workers, prefer="threads", return_as="generator_unordered")(jobs):
                report(1)
        rows = [read_json(file) for file in files]
        return {
            "curvature": self.predictor.path.curvature,
            "amplitude": self.predictor.path.amplitude,
            "trace_hessian": [float(self.problem.trace_hessian(w)) for w in (self.start, point.w)],
            **{name: [row[name] for row in rows] for name in rows[0]},
        }

    def _predict(self, file: Path, lr: float) -> None:
        if not file.exists():
            write_json(file, self._plan_lr(lr))
        row = read_json(file)
        if not isinstance(row, dict) or len(row.get("horizon", ())) != len(GRID):
            raise InputError("--out", file, "an intact file of this sweep; delete it to compute it again")

    def _plan_lr(self, lr: float) -> dict[str, Any]:
        best = self.predictor.recommend(lr)
        grid = np.minimum(1.0, best.one_minus_beta * GRID)
        grid = np.where(np.append(np.diff(grid) > 0, True), grid, np.nan)
        if np.isnan(grid).any():
            highest = best.one_minus_beta * GRID[-1]
            raise InputError("--lr", lr, f"smaller: the sweep would need 1 - beta = {highest:.3g} > 1")
        predicted = self.predictor.convergence_time(lr, grid)
        # Long enough to see a late return above the target; there is none well above the optimum.
        horizon = np.where(GRID < 1, 3 * best.time, np.where(GRID < 2, 2.0, 1.5) * predicted)
        return {
            "effective_loss": best.one_minus_beta,
            "effective_loss_time": best.time,
            "closed_form": float(self.predictor.closed_form.one_minus_beta(lr)),
            "one_minus_beta": grid.tolist(),
            "predicted_time": predicted.tolist(),
            "horizon": np.maximum(np.ceil(horizon), N_RECORDS).astype(int).tolist(),
        }

    def sweep(self, plan: dict[str, Any]) -> sweep.Sweep:
        """The sweep that `plan` describes."""
        seeds = np.arange(self.configuration["n_seeds"], dtype=np.uint64) + (
            np.uint64(self.configuration["seed"]) << np.uint64(32)
        )
        metrics = tuple(dict.fromkeys([self.configuration["metric"], "test_error", "trace_hessian", "train_loss"]))
        return sweep.Sweep(
            self.method,
            self.start,
            np.array(self.configuration["lr"]),
            np.array(plan["one_minus_beta"]),
            np.array(plan["horizon"], dtype=np.int64),
            seeds,
            metrics,
            N_RECORDS,
        )

    def dataset(self, plan: dict[str, Any], folder: Path) -> xr.Dataset:
        """Runs, convergence times and predictions, with units and the full configuration."""
        from .torch_sgd import difference  # torch takes seconds to load: not before a mistake in the input is told

        data = sweep.collect(self.sweep(plan), folder)
        metric, fraction = self.configuration["metric"], self.configuration["fraction"]
        step = data["step"].broadcast_like(data[metric]).transpose(*data[metric].dims)
        times = sm.convergence_time(data[metric].values, step.values, fraction)
        grid = ("lr", "momentum")
        steps = {"units": "steps"}
        note = f"after which {metric} stays below {fraction} of its start; inf: not within the run"
        optima = [plan["effective_loss"], plan["closed_form"]]
        recommended = {"long_name": "predicted at the recommendation of L_eff", **steps}
        delta = plan["one_minus_beta"][-1][-1]
        same = difference(self.method, self.start, self.configuration["lr"][-1], 1 - delta, 0, TORCH_STEPS)
        attributes = {
            "configuration": json.dumps(self.configuration),
            "command": command(self.configuration),
            "versions": json.dumps(versions("numpy", "scipy", "numba", "xarray", "torch")),
            "noise": self.method.noise,
            "curvature": plan["curvature"],
            "amplitude": plan["amplitude"],
            "trace_hessian_start": plan["trace_hessian"][0],
            "trace_hessian_flattest": plan["trace_hessian"][1],
            "torch_difference": same,
        }
        data = data.assign(
            convergence_time=((*grid, "seed"), times, {"long_name": note, **steps}),
            predicted_time=(grid, plan["predicted_time"], {"long_name": "the same, predicted by L_eff", **steps}),
            predicted_optimum=(("method", "lr"), optima, {"long_name": "recommended 1 - momentum", "units": "1"}),
            recommended_time=("lr", plan["effective_loss_time"], recommended),
        )
        return data.assign_coords(method=["effective loss", "closed form"]).assign_attrs(attributes)


def open_folder(out: Path, options: Options, *, resume: bool) -> tuple[Experiment, Folder]:
    """The checked experiment and its folder; nothing is written yet."""
    configuration = options.configuration()
    experiment = Experiment(configuration)
    folder = Folder.open(out, configuration, resume=resume)
    experiment.check()
    return experiment, folder
