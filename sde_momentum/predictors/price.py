"""T7: the price of speed: how far tr H stays above its flattest value at a momentum, and the fastest that a price allows."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ..core.errors import InputError, check, check_integer, check_lr, check_one, check_positive
from ..dynamics import slow_modes
from ..dynamics.critical_limit import CriticalLimit
from ..dynamics.critical_valley import CriticalValley
from ..geometry.manifold_point import ManifoldPoint
from ..problems.problem import Problem
from ..problems.valley import Valley
from ..theory import formulas
from .normal_excess import normal_excess
from .universal_curve import UniversalCurve

Floats = NDArray[np.float64]

_SETTLED = 12.0  # 1 / delta: the modes' own relaxation takes 1
_WINDOWS = 12
_LEAST_STEP = 0.004
"""Steps that resolve every mode are worth their time down to this; beyond, modes are fast enough for their amplitudes."""


def price_of_speed(
    point: ManifoldPoint,
    lr: float,
    one_minus_beta: ArrayLike,
    noise: float,
    *,
    n_seeds: int = 32,
    seed: int = 0,
    workers: int = -1,
    progress: bool | None = None,
) -> xr.Dataset:
    """Stationary mean of tr H above the flattest point's against 1 - beta, by simulation of the critical limit at finite lr
    [theory: Critical limit].

    Takes seconds in a valley, and up to minutes a momentum elsewhere, where its steps resolve every mode.

    Args:
        point: the flattest point, where the runs start with empty modes
        lr: eta > 0
        one_minus_beta: delta, increasing in (0, 1], (n,) or one number
        noise: c = sigma^2 / B > 0
        n_seeds: runs at each (in a valley 256 times as many)
        seed: of the noise
        workers: threads, -1 for all cores; the numbers do not depend on it
        progress: a bar with the time left; None: if standard error is a terminal and it takes over two seconds

    Returns:
        Dataset over one_minus_beta: `along` the part along Gamma and the slow modes', `along_se`; `across` what the other
        normal modes add at w [theory: Relaxation]; `excess` their sum, and `settled` (bool): whether two halves of the
        record agree within
        3 standard errors.

    Raises:
        InputError: for a value out of range.

    >>> import sde_momentum as sm
    >>> valley = sm.Valley.balanced(32, curvature=1.0, coupling=0.5)
    >>> price = sm.price_of_speed(sm.ManifoldPoint(valley, valley.start(0.0)), 1e-3, [1e-3, 2e-3], noise=1e-3)
    >>> bool(price.excess[0] > price.excess[1] > 0)
    True
    """
    rate, c = check_one(check_lr, lr, "lr"), check_one(check_positive, noise, "noise")
    deltas = np.atleast_1d(check("one_minus_beta", one_minus_beta, lambda x: (x > 0) & (x <= 1), "numbers in (0, 1]"))
    check_integer(n_seeds, "n_seeds", 2)
    check_integer(seed, "seed", 0)
    problem = point.problem
    start = ManifoldPoint(problem, point.w)
    rows = [_along(problem, start, rate, float(delta), c, n_seeds, seed, workers, progress) for delta in deltas]
    along, error, settled = (np.array(column) for column in zip(*rows, strict=True))
    across = np.array([normal_excess(start, rate, delta, c, _followed(start, rate, delta, c)) for delta in deltas.tolist()])
    unit = {"units": "curvature"}
    return xr.Dataset(
        {
            "along": ("one_minus_beta", along, unit),
            "along_se": ("one_minus_beta", error, unit),
            "across": ("one_minus_beta", across, unit),
            "excess": ("one_minus_beta", along + across, unit),
            "settled": ("one_minus_beta", settled),
        },
        coords={"one_minus_beta": deltas},
        attrs={"lr": rate, "noise": c, "theory": "Critical limit", "trace_hessian": point.trace_hessian},
    )


def fastest_within(curve: UniversalCurve, price: xr.Dataset, excess: float) -> tuple[float, float]:
    """(1 - beta, steps): the fastest momentum whose price is at most `excess`, and its predicted time to the target.

    Args:
        curve: time against momentum
        price: of `price_of_speed`, at the lr and noise that are meant
        excess: tolerated stationary mean of tr H above its flattest value, > 0

    Raises:
        InputError: if no momentum of `price` is as cheap, or none of them reaches the target.
    """
    goal = check_one(check_positive, excess, "excess")
    lr, noise = float(price.attrs["lr"]), float(price.attrs["noise"])
    deltas, cost = price["one_minus_beta"].values, price["excess"].values
    dear = np.flatnonzero(cost > goal)
    first = int(dear[-1]) + 1 if dear.size else 0
    if first == len(deltas):
        raise InputError("excess", goal, f"at least {cost[-1]:.4g}, the price of the least momentum asked for")
    lowest = float(deltas[first])
    if first:
        share = np.log(goal / cost[first - 1]) / np.log(cost[first] / cost[first - 1])
        lowest = float(deltas[first - 1] * (deltas[first] / deltas[first - 1]) ** share)
    allowed = np.geomspace(lowest, deltas[-1], 200) if lowest < deltas[-1] else np.array([lowest])
    times, _ = curve.convergence_time(lr, allowed, noise)
    if not np.isfinite(times).any():
        raise InputError("excess", goal, "a price at which the target is reached")
    i = int(np.nanargmin(times))
    return float(allowed[i]), float(times[i])


def _strength(point: ManifoldPoint, kappa: float) -> float:
    """kappa times the largest curvature of tr H along Gamma."""
    return kappa * max(float(point.curvatures[-1]), np.finfo(float).tiny) if point.problem.n_parameters <= 200 else 1.0


def _step(point: ManifoldPoint, strength: float, frequency: float) -> float:
    """Of the simulation: where it can, one that leaves no pair of a slow and a fast mode."""
    coarse = 0.1 if strength < 9 else 0.3 / float(np.sqrt(strength))
    if isinstance(point.problem, Valley):
        return coarse
    resolving = 0.9 * slow_modes.resolving_step(frequency, float(point.eigenvalues.max()))  # eigenvalues rise as w moves
    return resolving if _LEAST_STEP <= resolving < coarse else coarse


def _followed(point: ManifoldPoint, lr: float, delta: float, noise: float) -> float:
    """The eigenvalue up to which the simulation has the modes' own displacement in w."""
    if isinstance(point.problem, Valley):
        return 0.0
    frequency = float(np.sqrt(lr)) / delta
    step = _step(point, _strength(point, float(formulas.critical_kappa(lr, delta, noise))), frequency)
    return slow_modes.largest_slow_eigenvalue(frequency, step)


def _along(
    problem: Problem, point: ManifoldPoint, lr: float, delta: float, noise: float, n_seeds: int, seed: int, workers: int,
    progress: bool | None,
) -> tuple[float, float, bool]:  # fmt: skip
    """(mean, standard error, settled) of tr H above the point's."""
    kappa = float(formulas.critical_kappa(lr, delta, noise))
    strength = _strength(point, kappa)
    last = 2 * (_SETTLED + 6 / min(1.0, strength))
    times, step = np.linspace(last / 2, last, 2 * _WINDOWS), _step(point, strength, float(np.sqrt(lr)) / delta)
    if isinstance(problem, Valley):
        groups = [
            CriticalValley(problem).solve(
                float(point.w[0]), times, kappa=kappa, step=step, n_paths=32 * n_seeds, seed=8 * seed + k, workers=workers,
                progress=progress,
            )["position_rms"].values[0]
            for k in range(8)
        ]  # fmt: skip
        series = problem.mean_trace_hessian(np.square(groups)) - point.trace_hessian
    else:
        runs = CriticalLimit(problem).solve(
            point.w, times, kappa=kappa, seeds=seed * 1_000_003 + np.arange(n_seeds), step=step,
            frequency=np.sqrt(lr) / delta, metrics=["trace_hessian"], workers=workers, progress=progress,
        )  # fmt: skip
        series = runs["trace_hessian"].values[0] - point.trace_hessian
    each = series.mean(axis=1)
    halves = series[:, _WINDOWS:].mean(axis=1) - series[:, :_WINDOWS].mean(axis=1)
    error = float(each.std(ddof=1) / np.sqrt(len(each)))
    drift = abs(float(halves.mean())) <= 3 * float(halves.std(ddof=1)) / np.sqrt(len(each))
    return float(each.mean()), error, bool(drift)
