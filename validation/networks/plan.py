"""Preparation of a sweep: the start of training (phase 1), the first look at the largest lr, and every rule's recommendation.

The first look tunes the momentum at the largest learning rate: a dozen momenta, from 0.6 to within 0.001 of 1, with seeds that
the sweep does not use. The sweep lies around its optimum, moved by lr^(2/3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

import sde_momentum as sm
from sde_momentum.core.errors import InputError
from sde_momentum.core.files import json_value
from sde_momentum.predictors.measured_optimum import Optima

from ..experiment import Configuration
from .block import Arrays, Block, setting
from .effective_loss import effective_times
from .fit import by_sgd, interpolate
from .mlp import MLP
from .problem import NetworkProblem
from .stacked_sgd import Stack
from .task import METRICS, Task, to_tensors

if TYPE_CHECKING:
    from .experiment import NetworkExperiment

LOOK = 0.4 * 1.7 ** -np.arange(11.0, -1, -1)
"""1 - beta of the first look."""
N_LOOK = 4
"""Number of seeds of the first look, at most that of the sweep."""
LONGEST = 5.0
"""Horizon of the sweep over the shortest time of the first look, moved by lr^(-2/3)."""
_NOISY_FIT, _FIT_SEED = 0.9, 1 << 40
_UNFITTED = 1e-2
"""A run from an initialisation has fitted when its noise-free loss is below this share of that at the initialisation; with label
noise, below `_STATIONARY` times the stationary loss, if that is more [theory: Relaxation, eq. 2.10]."""
_STATIONARY = 3.0
_NEAR = 0.2
"""A run has left Gamma when its loss exceeds this share of that at the initialisation (both above the loss on Gamma)."""

TRANSFER, LINEAR, ROOT = "lr^(2/3)", "lr", "lr^(1/2)"
GEOMETRY, EFFECTIVE, CRITICAL = "closed form", "effective loss", "critical limit"
RULES = {
    TRANSFER: "the optimum of the first look at the largest lr, moved by lr^(2/3)",
    GEOMETRY: "(c mu zeta^2)^(1/3) lr^(2/3), c and mu estimated at the start of training, along the way down tr H",
    EFFECTIVE: "least momentum within 15 % of the shortest time on L_eff at the largest lr, moved by lr^(2/3)",
    CRITICAL: "least momentum within 3 % of the shortest time in the critical limit, one simulated curve for every lr",
    LINEAR: "the same optimum, 1 - beta proportional to lr",
    ROOT: "the same optimum, 1 - beta proportional to lr^(1/2)",
}
"""Name of each compared rule -> its description."""

_CRITICAL_SEEDS = 8
_POWER = {TRANSFER: 2 / 3, LINEAR: 1.0, ROOT: 0.5}


def records(horizon: int, n: int) -> tuple[int, ...]:
    """At most n steps at which runs are measured, denser at the beginning."""
    return tuple(np.unique(np.rint(horizon * np.linspace(0, 1, n) ** 1.5).astype(int)).tolist())


@dataclass(frozen=True, eq=False)
class Ground:
    """The result of phase 1: the start of training, and measurements at that point.

    Attributes:
        experiment, configuration: of the sweep
        start: parameters where training starts, name -> (1, ...)
        about: of the initialisation, the interpolating point and the start: METRICS and largest eigenvalues of H; of the fit its
            excess loss and evaluations; `noise`, c of the label noise
    """

    experiment: NetworkExperiment
    configuration: Configuration
    start: Arrays
    about: Mapping[str, Any]

    @property
    def task(self) -> Task:
        """The training problem."""
        return self.experiment.build(self.configuration)

    @property
    def noise(self) -> float:
        """Noise strength c of the configuration's batches."""
        return self.task.noise(self.configuration["batch_size"] or self.task.n_samples)


def begin(experiment: NetworkExperiment, configuration: Configuration) -> tuple[Arrays, dict[str, Any]]:
    """Phase 1: `start` and `about` of the Ground."""
    task = experiment.build(configuration)
    initial = {
        name: value.to(task.inputs) for name, value in task.network.initial(configuration["seed"], task.inputs.dtype).items()
    }
    how = setting(task, configuration)
    if steps := configuration.get("sgd_fit", 0):
        fit = by_sgd(how, initial, max(configuration["lr"]), steps, _FIT_SEED)
    else:
        fit = interpolate(task.network, task.loss, task.inputs, initial, max_iterations=experiment.fit_iterations)
    start = {"interpolating": fit.parameters, "initial": initial, "noisy": initial}[configuration["start"]]
    if configuration["start"] == "noisy":
        stack = Stack.begin(start, np.array([max(configuration["lr"])]), np.array([_NOISY_FIT]), np.array([0]), [_FIT_SEED])
        stack.advance(how, configuration["horizon"] // 4)
        start = stack.parameters
    points = {"initialisation": initial, "interpolating": fit.parameters, "start": start}
    noise = task.noise(configuration["batch_size"] or task.n_samples) if configuration["label_noise"] > 0 else 0.0
    about: dict[str, Any] = {"fit_excess": fit.excess, "fit_evaluations": fit.evaluations, "noise": noise}
    for name, point in points.items():
        about[name] = {metric: float(value[0]) for metric, value in task.measure(point, start).items()}
        about[name]["eigenvalues"] = task.eigenvalues(point)[0].tolist()
    return {name: value.cpu().numpy() for name, value in start.items()}, about


def levels(ground: Ground, lr: float, deltas: NDArray[np.float64]) -> tuple[float, float]:
    """The targets of a run: levels that tr H and the train loss must stay below.

    tr H: the fraction `--fraction` of its value at the interpolating point of phase 1. Loss: a run that starts elsewhere must fit
    the data; one that starts there must not leave Gamma, as by dead units, which make tr H small.
    """
    configuration, about = ground.configuration, ground.about
    level = configuration["fraction"] * about["interpolating"]["trace_hessian"]
    floor = about["interpolating"]["train_loss"]
    gap = about["initialisation"]["train_loss"] - floor
    if configuration["start"] == "interpolating":
        return level, floor + _NEAR * gap
    noise = about["noise"]
    kept_up = lr * noise * about["interpolating"]["trace_hessian"] / (4 * float(np.min(deltas)))
    fitted = _UNFITTED * gap
    return (level if noise else float("inf")), floor + max(fitted, _STATIONARY * kept_up)


def blocks(
    ground: Ground, lr: float, deltas: NDArray[np.float64], seeds: list[int], horizon: int, least: int, width: int
) -> list[Block]:
    """The blocks of one learning rate, `width` seeds in each; runs of at least `least` and at most `horizon` steps."""
    level, loss_level = levels(ground, lr, deltas)
    profile = ground.experiment.profiles[ground.configuration["profile"]]
    return [
        Block(
            ground.experiment.build,
            ground.configuration,
            ground.start,
            lr,
            tuple(deltas.tolist()),
            tuple(seeds[i : i + width]),
            records(horizon, profile.n_records),
            level,
            loss_level,
            least,
        )
        for i in range(0, len(seeds), width)
    ]


def times(block: Block, arrays: Arrays) -> NDArray[np.float64]:
    """Steps after which each run stays below its levels, (M, S); inf: never."""
    values = arrays["values"].astype(np.float64)
    out = np.zeros(values.shape[1:3])
    for name, level in (("trace_hessian", block.level), ("train_loss", block.loss_level)):
        if np.isfinite(level):
            series = values[list(METRICS).index(name)] / level
            # a run that starts below its level must return to it
            series[..., 0] = 2.0
            out = np.maximum(out, sm.convergence_time(series, np.array(block.records), fraction=0.5))
    return out


def look(found: list[tuple[Block, Arrays]], lr: float) -> dict[str, Any]:
    """Times of the first look, the fastest momentum, and the shortest time.

    If no run reaches the target: the momentum whose runs came closest, and a time that gives the sweep as many steps.

    Raises:
        InputError: if every run diverges.
    """
    one = found[0][0]
    deltas = np.array(one.one_minus_beta)
    measured = np.concatenate([times(block, arrays) for block, arrays in found], axis=1)
    seen = {"lr": lr, "one_minus_beta": deltas.tolist(), "time": [None] * len(deltas)}
    if not np.isfinite(measured).any():
        metric = "trace_hessian" if np.isfinite(one.level) else "train_loss"
        last = np.concatenate([arrays["values"][list(METRICS).index(metric), ..., -1] for _, arrays in found], axis=1)
        if not np.isfinite(last).any():
            raise InputError("--lr", lr, "a smaller one: every run diverges, at any momentum")
        return {**seen, "best": float(deltas[np.argmin(last.mean(axis=1))]), "best_time": one.records[-1] / LONGEST}
    optima = Optima(np.array([lr]), deltas[None], measured[None])
    best = optima.weighted_optimum(0)
    at = float(np.exp(np.interp(np.log(best), np.log(deltas), np.log(optima.time[0]))))
    time = optima.time[0]
    return {
        **seen,
        "time": json_value(time),
        "best": best,
        "best_time": min(at, float(time.min())),
    }


def recommend(ground: Ground, seen: Mapping[str, Any]) -> tuple[dict[str, list[float | None]], dict[str, Any]]:
    """1 - beta of every rule at every learning rate, None where a rule gives none; and the estimate of the geometry."""
    rates = np.array(ground.configuration["lr"])
    rules: dict[str, list[float | None]] = {}
    for name, power in _POWER.items():
        rules[name] = np.minimum(1.0, seen["best"] * (rates / seen["lr"]) ** power).tolist()
    estimate = _geometry(ground)
    best = _effective(ground)
    rules[EFFECTIVE] = [None] * len(rates) if best is None else np.minimum(1.0, best * (rates / rates[-1]) ** (2 / 3)).tolist()
    rule = estimate.pop("rule")
    rules[GEOMETRY] = [None] * len(rates) if rule is None else np.atleast_1d(rule.one_minus_beta(rates)).tolist()
    return {name: rules[name] for name in RULES if name in rules}, estimate


def critical_limit(ground: Ground, store: Path, workers: int) -> list[float]:
    """1 - beta that the critical limit recommends at every learning rate; its curve is kept in `store`.

    It starts at the point of Gamma next to the start of training, and its time is that of the mean of tr H over the runs.
    """
    task, configuration = ground.task, ground.configuration
    assert isinstance(task.network, MLP)
    problem = NetworkProblem(task.network, task.inputs, task.loss.targets)
    point = problem.flat(to_tensors(ground.start, task.inputs))
    curve = sm.universal_curve(
        problem,
        point,
        ("trace_hessian", configuration["fraction"]),
        settings=sm.predictors.CurveSettings(n_seeds=_CRITICAL_SEEDS, seed=configuration["seed"]),
        store=store,
        workers=workers,
    )
    noise = ground.noise
    return [min(1.0, curve.recommend(lr, noise).one_minus_beta) for lr in configuration["lr"]]


def _geometry(ground: Ground) -> dict[str, Any]:
    """c, mu and their rule, from `estimate_timescales` at the start of training."""
    configuration = ground.configuration
    if configuration["label_noise"] == 0 or configuration["start"] == "initial":
        return {"rule": None, "failed": ["no interpolating start with label noise to estimate at"]}
    if not ground.experiment.follow:
        return {"rule": None, "failed": ["eigenvalues too close to 0 to tell modes from Gamma: c and mu are not estimated"]}
    task = ground.task
    classes = not task.is_interpolable
    targets = task.loss.targets.argmax(dim=-1) if classes else task.loss.targets
    loss = torch.nn.functional.cross_entropy if classes else _half_mean_square
    model = task.network.module({name: torch.as_tensor(value).to(task.inputs) for name, value in ground.start.items()})
    found = sm.estimate_timescales(
        model,
        loss,
        (task.inputs, targets),
        lr=max(configuration["lr"]),
        label_noise=configuration["label_noise"],
        batch_size=configuration["batch_size"] or None,
        weight_decay=configuration["weight_decay"],
        target=configuration["fraction"],
        follow=ground.experiment.follow,
        settings=sm.training.EstimatorSettings(vary=False),
        seed=configuration["seed"],
    )
    names = ("noise", "noise_se", "curvature", "curvature_se", "coupling", "trace_hessian", "flatter_trace_hessian")
    return {"rule": found.rule, **{name: getattr(found, name) for name in names}, "failed": list(found.failed)}


def _effective(ground: Ground) -> float | None:
    """The momentum by L_eff at the largest learning rate; None where it gives none, or is switched off."""
    configuration = ground.configuration
    if configuration["label_noise"] == 0 or configuration["start"] == "initial" or not configuration.get("effective_loss", True):
        return None
    task = ground.task
    found = effective_times(
        task,
        to_tensors(ground.start, task.inputs),
        ground.noise,
        max(configuration["lr"]),
        LOOK,
        configuration["fraction"],
        max_steps=configuration["horizon"],
    )
    return None if found is None else found.recommended


def _half_mean_square(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The square loss |f - y|^2 / (2P) [theory: Setting, eq. 1.1]."""
    return (outputs - targets).square().mean() / 2
