"""The price of speed: stationary excess of tr H against momentum, and the fastest momentum within a tolerated excess."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ..core.arguments import by_annotations
from ..core.errors import InputError, check_integer, check_lr, check_one, check_one_minus_beta, check_positive
from ..dynamics.critical_course import CourseRequest, CriticalCourse, critical_course
from ..dynamics.resolved_course import resolving_pace
from ..geometry.manifold_point import ManifoldPoint
from ..theory import formulas
from .curve.universal_curve import UniversalCurve
from .normal_excess import normal_excess

Floats = NDArray[np.float64]

_SETTLED = 12.0
"""Time s = delta k after which the energies of the modes, which relax in s = 1, are stationary."""
_WINDOWS = 12
"""Records in each of the two halves of the record that are compared."""
_FINER = 0.5
"""Of the step of a time course, which makes the variance of the stiffest mode 4 % too large."""
_WEAKEST = 1e-3
"""Least strength of the fluctuations' force that is simulated: its state takes 1 / strength to settle. The largest: 1 over it."""
_MANY_PARAMETERS = 200
"""Number of parameters above which the curvatures of tr H, of quadratic cost, are not computed to choose the step."""


@by_annotations
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
    """Stationary mean of tr H above its flattest value: in a valley by simulation of the critical limit, elsewhere by training at
    the largest lr with the same stationary state [theory: Finite learning rate, eq. 8.7].

    Args:
        point: the flattest point, where the runs start with energies of zero
        lr: eta > 0
        one_minus_beta: delta, increasing in (0, 1], (n,) or one number
        noise: c = sigma^2 / B > 0
        n_seeds: runs at each (in a valley 256 times as many)
        seed: of the noise
        workers: threads, -1 for all cores; the numbers do not depend on it
        progress: a bar with the time left; None: on a terminal after a second, elsewhere a line every ten

    Returns:
        Dataset over one_minus_beta, in units of curvature: `along`, the simulated part, with `along_se`; `across`, that of
        the normal modes where the simulation leaves them out, in a valley, else 0; `excess`, their sum; `settled` (bool),
        whether the two halves of the record agree within 3 standard errors.

    Raises:
        InputError: for a value out of range.

    Source: [theory: Price of speed, eq. 9.9].

    >>> import sde_momentum as sm
    >>> valley = sm.Valley.balanced(32, curvature=1.0, coupling=0.5)
    >>> price = sm.predictors.price_of_speed(sm.ManifoldPoint(valley, valley.start(0.0)), 1e-3, [1e-3, 2e-3], noise=1e-3)
    >>> bool(price.excess[0] > price.excess[1] > 0)
    True
    """
    rate, c = check_one(check_lr, lr, "lr"), check_one(check_positive, noise, "noise")
    deltas = np.atleast_1d(check_one_minus_beta(one_minus_beta))
    if not deltas.size or deltas.ndim != 1:
        raise InputError("one_minus_beta", f"shape {deltas.shape}", "one number or several")
    check_integer(n_seeds, "n_seeds", 2, 10**6)
    check_integer(seed, "seed", 0, 2**32)
    start = ManifoldPoint(point.problem, point.w)
    limit = float(formulas.heavy_ball_stability_limit(deltas.max())) / float(point.eigenvalues.max())
    if rate >= limit:
        raise InputError("lr", rate, f"below {limit:.4g}, where the stiffest mode becomes unstable")
    states = [_Stationary(start, critical_course(point.problem), rate, delta, c) for delta in deltas.tolist()]
    for state in states:
        if not _WEAKEST <= state.strength <= 1 / _WEAKEST:
            allowed = f"eta^2 c mu / (4 delta^3) from {_WEAKEST:g} to {1 / _WEAKEST:g}, mu the largest curvature along Gamma"
            raise InputError("one_minus_beta", f"{state.one_minus_beta:.6g}, where it is {state.strength:.3g}", allowed)
    along, error, settled = (
        np.array(column) for column in zip(*(s.along(n_seeds, seed, workers, progress) for s in states), strict=True)
    )
    across = np.array([0.0 if s.frequency else normal_excess(start, rate, s.one_minus_beta, c) for s in states])
    columns = {"along": along, "along_se": error, "across": across, "excess": along + across}
    return xr.Dataset(
        {name: ("one_minus_beta", values, {"units": "curvature"}) for name, values in columns.items()}
        | {"settled": ("one_minus_beta", settled)},
        coords={"one_minus_beta": deltas},
        attrs={"lr": rate, "noise": c, "theory": "Price of speed", "trace_hessian": point.trace_hessian},
    )


@by_annotations
def fastest_within(curve: UniversalCurve, price: xr.Dataset, excess: float) -> tuple[float, float]:
    """(1 - beta, steps): the fastest momentum whose price is at most `excess`, and its predicted time to the target.

    Args:
        curve: time against momentum
        price: of `price_of_speed`; its lr and noise are used
        excess: tolerated stationary mean of tr H above its flattest value, > 0, in units of curvature

    Raises:
        InputError: if no momentum of `price` has so small an excess, or none of those reaches the target.
    """
    goal = check_one(check_positive, excess, "excess")
    lr, noise = float(price.attrs["lr"]), float(price.attrs["noise"])
    deltas, cost = price["one_minus_beta"].values, price["excess"].values
    dear = np.flatnonzero(cost > goal)
    first = int(dear[-1]) + 1 if dear.size else 0
    if first == len(deltas):
        raise InputError("excess", goal, f"at least {cost[-1]:.4g}, the price of the least momentum in `price`")
    lowest = float(deltas[first])
    if first:
        share = np.log(goal / cost[first - 1]) / np.log(cost[first] / cost[first - 1])
        lowest = float(deltas[first - 1] * (deltas[first] / deltas[first - 1]) ** share)
    allowed = np.geomspace(lowest, deltas[-1], 200) if lowest < deltas[-1] else np.array([lowest])
    times, _ = curve.convergence_time(lr, allowed, noise)
    if not np.isfinite(times).any():
        raise InputError("excess", goal, "a larger excess: at every momentum that cheap the target is never met")
    i = int(np.nanargmin(times))
    return float(allowed[i]), float(times[i])


@dataclass(frozen=True, eq=False)
class _Stationary:
    """The simulation of the stationary state around the flattest point at one momentum."""

    point: ManifoldPoint
    critical: CriticalCourse
    lr: float
    one_minus_beta: float
    noise: float

    @property
    def kappa(self) -> float:
        """eta^2 c / (4 delta^3) [theory: Critical limit, eq. 7.1]."""
        return float(formulas.critical_kappa(self.lr, self.one_minus_beta, self.noise))

    @property
    def frequency(self) -> float | None:
        """sqrt(eta) / delta; None where the simulation has no correction at finite lr."""
        return float(np.sqrt(self.lr)) / self.one_minus_beta if self.critical.corrected_at_finite_lr else None

    @cached_property
    def strength(self) -> float:
        """kappa times the largest curvature of tr H along Gamma."""
        few = self.point.problem.n_parameters <= _MANY_PARAMETERS
        return self.kappa * max(float(self.point.curvatures[-1]), np.finfo(float).tiny) if few else 1.0

    @property
    def step(self) -> float:
        """Step of the simulation, in s."""
        coarse = 0.1 if self.strength < 9 else 0.3 / float(np.sqrt(self.strength))
        if self.frequency is None:
            return coarse
        return min(coarse, _FINER * resolving_pace(self.frequency, float(self.point.eigenvalues.max())))

    def along(self, n_seeds: int, seed: int, workers: int, progress: bool | None) -> tuple[float, float, bool]:
        """(mean, standard error, settled) of tr H above its value at the point."""
        last = 2 * (_SETTLED + 6 / min(1.0, self.strength))
        request = CourseRequest(
            self.point.w,
            np.linspace(last / 2, last, 2 * _WINDOWS),
            "trace_hessian",
            kappa=self.kappa,
            step=self.step,
            frequency=self.frequency,
            seed=seed,
            workers=workers,
            progress=progress,
        )
        series = self.critical.samples(request, n_seeds) - self.point.trace_hessian
        each = series.mean(axis=1)
        halves = series[:, _WINDOWS:].mean(axis=1) - series[:, :_WINDOWS].mean(axis=1)
        error = float(each.std(ddof=1) / np.sqrt(len(each)))
        drift = abs(float(halves.mean())) <= 3 * float(halves.std(ddof=1)) / np.sqrt(len(each))
        return float(each.mean()), error, bool(drift)
