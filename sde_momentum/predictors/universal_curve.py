"""T7, T9.3: time to a target against momentum in the critical limit: one simulation serves every lr and noise strength.

With delta = D (c eta^2)^(1/3) the reduced SDE's kappa is 1 / (4 D^3), and a time of s is tau = s / D in units of
(c eta^2)^(-1/3) steps: neither eta nor c is left. tau(D) is the universal curve of a problem, a start and a target.

What is left of them at finite lr is the modes' frequency sqrt(eta) / delta = 1 / (D (c^2 eta)^(1/6)), which decides how long
modes of neighbouring frequencies stay in step and which modes are too slow to be averaged over: a curve at a given c^2 eta has
this correction.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ..core.convergence import convergence_time
from ..core.errors import InputError, check, check_integer, check_lr, check_one, check_positive
from ..core.files import write_whole
from ..core.progress import track
from ..dynamics.critical_limit import CriticalLimit
from ..dynamics.critical_valley import CriticalValley
from ..problems.problem import Array, Problem
from ..problems.valley import Valley
from ..theory import formulas
from .drift_path import DriftPath
from .momentum_rule import MomentumRule
from .recommendation import Recommendation, largest_within

Floats = NDArray[np.float64]

TOLERANCE = 0.03
"""How much more than the shortest predicted time a recommendation may take: this way sees the cliff [theory: Effective loss]."""

_RATIO = 1.25  # of neighbouring D
_RECORDS = 160
_STEPS = 60  # of the SDE within the convergence time: doubling them changes it by less than its standard error
_LARGEST_STEP = 0.1  # of the modes' own relaxation
_PATHS = 8192  # in a valley, where a path costs next to nothing
_MODES = 640  # modes of all runs at one D together
_MANY = 100  # modes of which a single run has enough to average over
_MOST = 8  # times as many runs near the best
_SPREAD = 2  # standard errors of the mean within which the target may be met
_SURE = 16  # runs that the best has at least: fewer may agree by chance
_FINEST = 1.04  # of the best D and the next below it, which may be past the cliff
_BRANCH = 1.5  # times the best D: how far above it the time's slope is taken
_MOST_POINTS = 32
_KNOWN = 0.1  # relative standard error of a time that may be called the shortest
_OVERSHOOT = 2.5  # times the first crossing: an overshoot has peaked by then
_HORIZON = 2.7  # times the shortest time: how long a course is
_PROLONGATIONS = 6  # of a course whose length was guessed
_FORMAT = 3


@dataclass(frozen=True, eq=False)
class UniversalCurve:
    """tau(D): the time to the target in the critical limit, made by `universal_curve` [theory: Critical limit].

    Attributes:
        data: dims (point, record). `scaled_one_minus_beta` D (point), increasing, in units of curvature^(1/3); `time` tau and
            `time_se` (point), in units of curvature^(-1/3), inf where the mean does not come to stay below the target;
            `clock` (point, record) and `mean`, `mean_se` (point, record) of the metric
        path: the drift along Gamma to the target
    """

    data: xr.Dataset
    path: DriftPath

    @property
    def scaled_one_minus_beta(self) -> Floats:
        """D = delta / (c eta^2)^(1/3), (n,), increasing."""
        return np.asarray(self.data["scaled_one_minus_beta"].values)

    @property
    def scaled_time(self) -> Floats:
        """tau = (c eta^2)^(1/3) times the steps, (n,)."""
        return np.asarray(self.data["time"].values)

    @property
    def scaled_time_se(self) -> Floats:
        """Standard error of tau, (n,)."""
        return np.asarray(self.data["time_se"].values)

    @cached_property
    def best(self) -> int:
        """Index of the shortest time, among those known to a tenth (or, if none is, with a standard error)."""
        return int(np.argmin(_known(self.scaled_time, self.scaled_time_se)))

    @cached_property
    def edge(self) -> tuple[float, float]:
        """(low, high): the D below which the target is out of reach, or twice the best time away, lies between them.

        (0, lowest D) if no such D was found.
        """
        good = self.scaled_time <= 2 * self.scaled_time[self.best]
        first = int(np.argmax(good))
        return (float(self.scaled_one_minus_beta[first - 1]) if first else 0.0), float(self.scaled_one_minus_beta[first])

    def band(self, tolerance: float = 0.1) -> tuple[float, float]:
        """The D between which the time is within `tolerance` of the shortest: how exactly momentum must be set."""
        goal = (1 + float(check_positive(tolerance, "tolerance"))) * self.scaled_time[self.best]
        high = largest_within(self.scaled_one_minus_beta, self.scaled_time, goal)[0]
        low = 1 / largest_within(1 / self.scaled_one_minus_beta[::-1], self.scaled_time[::-1], goal)[0]
        return low, high

    def scale(self, lr: float, one_minus_beta: float, noise: float) -> float:
        """(c eta^2)^(1/3), c times the finite-lr ratio of the drift [theory: Drift]."""
        return float(np.cbrt(noise * self.path.drift_ratio(lr, one_minus_beta) * lr**2))

    def one_minus_beta(self, lr: float, scaled: float, noise: float) -> float:
        """delta at D = `scaled`: the fixed point of delta = D (c rho(delta) eta^2)^(1/3)."""
        delta = float(scaled * np.cbrt(noise * lr**2))
        for _ in range(4):  # rho depends on delta through 1 + beta only
            delta = min(1.0, scaled * self.scale(lr, min(delta, 1.0), noise))
        return delta

    def convergence_time(self, lr: float, one_minus_beta: ArrayLike, noise: float) -> tuple[Floats, Floats]:
        """Predicted steps to the target and their standard error, of the shape of `one_minus_beta` in (0, 1].

        Between the simulated points the logarithm of tau is linear in that of D; inf between a finite and an infinite one;
        NaN below the points. Above them, where w drifts without inertia, tau grows by the drift's own time, t D^2.
        Raises InputError for a value out of range.
        """
        rate, c = check_one(check_lr, lr, "lr"), float(check_positive(noise, "noise"))
        asked = check("one_minus_beta", one_minus_beta, lambda x: (x > 0) & (x <= 1), "numbers in (0, 1]")
        scale = np.array([self.scale(rate, float(delta), c) for delta in asked.ravel()])
        at = np.log(asked.ravel() / scale)
        x = np.log(self.scaled_one_minus_beta)
        with np.errstate(invalid="ignore"):
            tau = np.exp(_between(at, x, np.log(self.scaled_time)))
            error = _between(at, x, self.scaled_time_se)
        beyond = at > x[-1]
        tau[beyond] = self.scaled_time[-1] + self.path.time * (np.exp(2 * at[beyond]) - np.exp(2 * x[-1]))
        error[beyond] = self.scaled_time_se[-1]
        return (tau / scale).reshape(asked.shape), (error / scale).reshape(asked.shape)

    def recommend(self, lr: float, noise: float, tolerance: float = TOLERANCE) -> Recommendation:
        """The largest 1 - beta whose time is within `tolerance` of the shortest
        [theory: Effective loss; Critical limit], with its uncertainty.

        `low` and `high`: what a shortest time off by two standard errors would make of it. Raises InputError.
        """
        rate, c = check_one(check_lr, lr, "lr"), float(check_positive(noise, "noise"))
        slack = 1 + float(check_positive(tolerance, "tolerance"))
        d, tau = self.scaled_one_minus_beta, self.scaled_time
        shortest, error = tau[self.best], self.scaled_time_se[self.best]
        goals = slack * np.array([shortest, max(shortest - 2 * error, shortest / slack), shortest + 2 * error])
        found = [largest_within(d, tau, goal) for goal in goals]
        value, low, high = (self.one_minus_beta(rate, scaled, c) for scaled, _ in found)
        scale = self.scale(rate, value, c)
        return Recommendation(
            rate, value, float(found[0][1] / scale), float(shortest / scale), d * scale, tau / scale, low=low, high=high
        )

    def rule(self, noise: float, tolerance: float = TOLERANCE) -> MomentumRule:
        """The power law of the critical limit: 1 - beta = D (c)^(1/3) lr^(2/3), without corrections at finite lr."""
        d, tau = self.scaled_one_minus_beta, self.scaled_time
        scaled, _ = largest_within(d, tau, (1 + float(check_positive(tolerance, "tolerance"))) * tau[self.best])
        return MomentumRule.from_sweep({"exponent": 2 / 3, "prefactor": scaled * np.cbrt(float(check_positive(noise, "noise")))})

    def save(self, path: str | Path) -> None:
        """Write netCDF-4, whole or not at all."""
        content = self.data.to_netcdf(engine="h5netcdf")
        write_whole(Path(path), lambda file: file.write(content))

    def __str__(self) -> str:
        low, high = self.band()
        d, tau, error = self.scaled_one_minus_beta, self.scaled_time, self.scaled_time_se
        lines = [
            f"UniversalCurve ({self.path.problem.name}: {self.path.metric} to {self.path.fraction:g} of its start)",
            f"  shortest time {tau[self.best]:.4g} ± {error[self.best]:.2g} at D = {d[self.best]:.4g}, in (c lr^2)^(-1/3) steps",
            f"  within 10 % of it for D from {low:.4g} to {high:.4g}; 1 - beta = D (c lr^2)^(1/3)",
            f"  edge: D = {self.edge[0]:.4g} to {self.edge[1]:.4g}",
        ]
        return "\n".join(lines)


def _known(times: Floats, errors: Floats) -> Floats:
    """The times that may be called the shortest, inf for the others: close to the cliff some arrive, or do not, by chance."""
    for most in (_KNOWN, np.inf):
        with np.errstate(invalid="ignore"):
            known = np.where((errors <= most * times) & np.isfinite(errors), times, np.inf)
        if np.isfinite(known).any():
            break
    return known


def _between(at: Floats, x: Floats, y: Floats) -> Floats:
    """Linear interpolation; NaN outside, inf where a neighbour of unequal place is inf."""
    i = np.clip(np.searchsorted(x, at), 1, len(x) - 1)
    share = np.clip((at - x[i - 1]) / (x[i] - x[i - 1]), 0, 1)
    left = np.where(share < 1, y[i - 1], 0.0) * np.where(share < 1, 1 - share, 0.0)
    right = np.where(share > 0, y[i], 0.0) * np.where(share > 0, share, 0.0)
    outside = (at < x[0] - 1e-9) | (at > x[-1] + 1e-9)
    return np.where(outside, np.nan, left + right)


@dataclass(frozen=True)
class _Course:
    """Mean of the metric at one D, from the seeds run so far."""

    scaled: float
    clock: Floats  # tau
    values: Floats | None  # (n_seed, n_time); None where only the moments were kept
    mean: Floats
    mean_se: Floats

    def time(self, fraction: float) -> tuple[float, float]:
        """tau at which the mean stays below the target, and its standard error: half the span between mean -+ one error."""
        middle, early, late = (self.shifted_time(fraction, k) for k in (0, -1, 1))
        return middle, (late - early) / 2 if np.isfinite(middle) and np.isfinite(late) else np.inf

    def shifted_time(self, fraction: float, k: float) -> float:
        """tau at which the mean would stay below the target if it were `k` standard errors higher."""
        mean = np.append(self.mean[0], (self.mean + k * self.mean_se)[1:])
        return float(convergence_time(mean, self.clock, fraction))

    def still_falls(self, fraction: float) -> bool:
        """Whether the mean, at the pace of its last tenth, would come down to the target before as long again."""
        tenth = len(self.mean) // 10
        before, last = float(self.mean[-2 * tenth : -tenth].mean()), float(self.mean[-tenth:].mean())
        with np.errstate(invalid="ignore"):
            return 0 < last - fraction * self.mean[0] < 10 * (before - last)

    def more(self, values: Floats) -> _Course:
        """With further seeds."""
        assert self.values is not None
        return _of_seeds(self.scaled, self.clock, np.concatenate([self.values, values]))


def _of_seeds(scaled: float, clock: Floats, values: Floats) -> _Course:
    # a run that could not be followed has left the flat region: it stays above the target
    whole = np.where(np.isfinite(values), values, np.inf)
    with np.errstate(invalid="ignore"):
        mean, error = whole.mean(axis=0), whole.std(axis=0, ddof=1) / np.sqrt(len(whole))
    return _Course(scaled, clock, values, mean, np.where(np.isfinite(error), error, 0.0))


class _Search:
    """Where to simulate: from well above the best D down to past the cliff."""

    def __init__(
        self,
        path: DriftPath,
        scaled_lr: float | None,
        n_seeds: int,
        precision: float,
        seed: int,
        workers: int,
        advance: Callable[[float], None],
    ) -> None:
        self.path, self.scaled_lr, self.n_seeds, self.precision, self.seed = path, scaled_lr, n_seeds, precision, seed
        self.workers, self.advance = workers, advance
        self.courses: dict[float, _Course] = {}
        self.guess = float(self._rough(self._closed_form()))

    def _closed_form(self) -> float:
        """D of T5's closed form: (mu zeta^2)^(1/3)."""
        zeta = formulas.damping_ratio(self.path.amplitude)
        return float(formulas.label_noise_one_minus_beta(1.0, 1.0, self.path.curvature, zeta))

    def _rough(self, scaled: float) -> Floats:
        """A rough tau, from the drift path."""
        return self.path.expected_time(1.0, scaled, 1.0)

    def run(self) -> list[_Course]:
        start = self._closed_form()
        for k in (0, 1, 2, -1):
            self._simulate(start * _RATIO**k)
        while not 2 * self._shortest() < self._times()[0] < np.inf:
            if len(self.courses) > 24:
                break
            self._simulate(max(self.courses) * _RATIO)
        if not np.isfinite(self._shortest()):
            raise InputError("fraction", self.path.fraction, "a target above the fluctuations along Gamma, or a longer run")
        while not self._past_the_cliff() and len(self.courses) < _MOST_POINTS:
            self._simulate(min(self.courses) / _RATIO)
        best = self._best()
        for between in (best / np.sqrt(_RATIO), best * np.sqrt(_RATIO)):
            self._simulate(between)
        self._refine()
        return [self.courses[d] for d in sorted(self.courses)]

    def _times(self) -> Floats:
        """tau at every D, decreasing D; inf where it is not known."""
        both = np.array([self.courses[d].time(self.path.fraction) for d in sorted(self.courses, reverse=True)])
        return _known(both[:, 0], both[:, 1])

    def _shortest(self) -> float:
        return float(self._times().min())

    def _best(self) -> float:
        return sorted(self.courses, reverse=True)[int(np.argmin(self._times()))]

    def _past_the_cliff(self) -> bool:
        """Whether the two least D are clearly slower than the best."""
        return bool(np.all(self._times()[-2:] > 1.3 * self._shortest()))

    def _refine(self) -> None:
        """More seeds where the best may lie, and smaller steps in D below it: it may stand on the edge."""
        while True:
            while doubtful := self._doubtful():
                for d in doubtful:
                    self._add_seeds(d)
            best = self._best()
            below = max((d for d in self.courses if d < best), default=0.0)
            if len(self.courses) >= _MOST_POINTS or (
                self._past_the_cliff() and (best <= _FINEST * below or self._promise(below) <= self.precision)
            ):
                return
            self._simulate(float(np.sqrt(best * below)) if self._past_the_cliff() else min(self.courses) / _RATIO)

    def _doubtful(self) -> list[float]:
        """The D that need more seeds: those near the best until their times are precise, and the next below that may be better.

        Close to the cliff the mean of few runs comes back above the target, or does not, by chance. So the best itself must not
        come back within the errors either.
        """
        best, fraction = self._best(), self.path.fraction
        shortest, error = self.courses[best].time(fraction)
        allowed = self.precision * shortest
        most = _MOST * max(self.n_seeds, _MODES // self.path.problem.n_outputs)
        found, better = [], []
        for d, course in self.courses.items():
            if course.values is None or len(course.values) >= most:
                continue
            time, own = course.time(fraction)
            if d == best:
                late = course.shifted_time(fraction, _SPREAD) > (1 + _KNOWN) * shortest
                if late or own > allowed or len(course.values) < _SURE:
                    found.append(d)
            elif own > allowed:
                if error > allowed and time < 1.15 * shortest:
                    found.append(d)
                elif d < best and course.shifted_time(fraction, -_SPREAD) < shortest - allowed:
                    better.append(d)
        if better and self._promise(max(better)) > self.precision:
            found.append(max(better))
        return found

    def _promise(self, scaled: float) -> float:
        """By how much the time at a D below the best would be shorter, relatively, were there no cliff between."""
        best, times = self._best(), dict(zip(sorted(self.courses, reverse=True), self._times(), strict=True))
        branch = np.array([(d, time) for d, time in times.items() if best <= d <= _BRANCH * best and np.isfinite(time)])
        if len(branch) < 2:
            return np.inf
        slope = np.polyfit(np.log(branch[:, 0]), np.log(branch[:, 1]), 1)[0]
        return float(slope * np.log(best / scaled))

    def _simulate(self, scaled: float) -> None:
        """The course at a new D, long enough to tell whether it is the shortest."""
        shortest = self._shortest() if self.courses else np.inf
        # the geometry's guess may be several times too short or too long: no longer than until a time is known
        if np.isfinite(shortest):
            horizon = max(_HORIZON * shortest, 1.4 * float(self._rough(scaled) * shortest / self._rough(self._best())))
        else:
            horizon = _HORIZON * max(self.guess, float(self._rough(scaled)))
        far = np.isfinite(shortest) and scaled < self._best()  # no need to know how far away the target is
        for _ in range(_PROLONGATIONS):
            course = self._course(scaled, np.linspace(0, horizon, _RECORDS))
            time, _ = course.time(self.path.fraction)
            if np.isfinite(time):
                needed = _OVERSHOOT * min(time, shortest)
            else:
                needed = 2 * horizon if course.still_falls(self.path.fraction) and not far else 0.0
            if needed <= horizon:
                break
            horizon = needed * _HORIZON / _OVERSHOOT
        self.courses[scaled] = course
        self.advance(1)

    def _add_seeds(self, scaled: float) -> None:
        """As many seeds more at a D as it has; all anew if its course is much longer, and so coarser, than by now known to do."""
        before = self.courses[scaled]
        have = 0 if before.values is None else len(before.values)
        horizon = _HORIZON * self._shortest()
        if before.clock[-1] > 2 * horizon:
            clock = np.linspace(0, horizon, _RECORDS)
            self.courses[scaled] = _of_seeds(scaled, clock, self._values(scaled, clock, 0, 2 * have))
        else:
            self.courses[scaled] = before.more(self._values(scaled, before.clock, have, have))
        self.advance(1)

    def _course(self, scaled: float, clock: Floats) -> _Course:
        if isinstance(self.path.problem, Valley):
            return self._valley(self.path.problem, scaled, clock)
        return _of_seeds(scaled, clock, self._values(scaled, clock, 0, self.n_seeds))

    def _step(self, scaled: float, clock: Floats) -> float:
        """A step that divides the time between two records, up to a tenth longer rather than much shorter."""
        record = scaled * (clock[1] - clock[0])
        step = min(_LARGEST_STEP, scaled * self.guess / _STEPS)
        return float(record / max(np.ceil(record / (1.1 * step)), 1) * (1 + 1e-9))

    def _values(self, scaled: float, clock: Floats, first: int, count: int) -> Floats:
        """The metric, (count, n_time), of the seeds from the `first` on."""
        path = self.path
        frequency = None if self.scaled_lr is None else 1 / (scaled * self.scaled_lr ** (1 / 6))
        seeds = self.seed * 1_000_003 + np.arange(first, first + count)
        runs = CriticalLimit(path.problem).solve(
            path.start, clock * scaled, kappa=formulas.critical_kappa(1.0, scaled, 1.0), seeds=seeds, frequency=frequency,
            step=self._step(scaled, clock), metrics=[path.metric], workers=self.workers, progress=False,
        )  # fmt: skip
        return np.asarray(runs[path.metric].values[0])

    def _valley(self, valley: Valley, scaled: float, clock: Floats) -> _Course:
        runs = CriticalValley(valley).solve(
            float(self.path.start[0]), clock * scaled, kappa=formulas.critical_kappa(1.0, scaled, 1.0),
            step=self._step(scaled, clock), n_paths=_PATHS, seed=self.seed, workers=self.workers, progress=False,
        )  # fmt: skip
        rms, rms_se = runs["position_rms"].values[0], runs["position_rms_se"].values[0]
        square, error = rms**2, 2 * rms * rms_se
        if self.path.metric == "trace_hessian":
            square, error = valley.mean_trace_hessian(square), valley.curvature / 2 * error
        return _Course(scaled, clock, None, square, error)


def universal_curve(
    problem: Problem,
    start: ArrayLike,
    *,
    metric: str = "test_error",
    fraction: float = 0.1,
    scaled_lr: float | None = None,
    n_seeds: int | None = None,
    precision: float = 0.015,
    seed: int = 0,
    store: str | Path | None = None,
    workers: int = -1,
    progress: bool | None = None,
) -> UniversalCurve:
    """Simulate the critical limit at as many D as it takes to find the fastest and the cliff behind it [theory: Critical limit].

    What arrives at the target is the mean of the metric over the runs.

    Args:
        problem: what moves; a `Valley` runs in its own coordinates, every other problem in ambient ones
        start: a point of Gamma, (N,)
        metric: name of a metric of the problem that does not vanish on Gamma
        fraction: the target: the metric's mean stays below this fraction of its start, in (0, 1)
        scaled_lr: c^2 eta, in units of curvature, for the curve with its first correction at finite lr; None: the limit lr -> 0.
            A `Valley`, which runs in its own coordinates, has no such correction.
        n_seeds: runs at each D to begin with (None: the more the fewer modes average out); near the best more are made
        precision: relative standard error of the shortest time to be reached
        seed: of the noise
        store: a folder where curves are kept: one made before from the same arguments is read from it
        workers: threads, -1 for all cores; the numbers do not depend on it
        progress: a bar with the time left; None: if standard error is a terminal and it takes over two seconds

    Raises:
        InputError: for a value out of range, or a target that the mean does not reach.

    >>> import sde_momentum as sm
    >>> valley = sm.Valley.balanced(8, curvature=1.0, coupling=0.0)
    >>> curve = sm.universal_curve(valley, valley.start(1.0))
    >>> best = curve.recommend(lr=1e-3, noise=1e-3)
    >>> bool(best.shortest_time < best.time < 1.06 * best.shortest_time)
    True
    """
    path = DriftPath(problem, np.asarray(start), metric, fraction)
    problem = path.problem
    if n_seeds is None:
        n_seeds = int(np.clip(_MODES // problem.n_outputs, 4, 64)) if problem.n_outputs < _MANY else 4
    check_integer(n_seeds, "n_seeds", 2)
    check_integer(seed, "seed", 0)
    check_positive(precision, "precision")
    if scaled_lr is not None:
        check_positive(scaled_lr, "scaled_lr")
    if isinstance(problem, Valley):
        scaled_lr = None  # no eigenvectors turn, and no mode is slow
    made_of = {
        "problem": problem.settings(),
        "start": hashlib.sha256(np.ascontiguousarray(path.start).tobytes()).hexdigest(),
        "metric": path.metric,
        "fraction": path.fraction,
        "scaled_lr": scaled_lr,
        "n_seeds": n_seeds,
        "precision": precision,
        "seed": seed,
        "format": _FORMAT,
    }
    text = json.dumps(made_of, sort_keys=True, default=str)
    file = None if store is None else Path(store) / f"curve-{hashlib.sha256(text.encode()).hexdigest()[:16]}.nc"
    if file is not None and file.exists():
        return read_curve(file, problem, path.start)
    with track("universal curve", 16, progress) as advance:
        courses = _Search(path, scaled_lr, n_seeds, precision, seed, workers, advance).run()
    curve = UniversalCurve(_dataset(courses, path, text), path)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        curve.save(file)
    return curve


def read_curve(file: str | Path, problem: Problem, start: Array) -> UniversalCurve:
    """A curve that `UniversalCurve.save` wrote, for the same problem and start. Raises InputError for anything else."""
    try:
        data = xr.load_dataset(file, engine="h5netcdf")
        made_of: dict[str, Any] = json.loads(data.attrs["made_of"])
    except Exception:  # whatever the reader makes of a broken file, the user has one thing to do about it
        raise InputError("curve", file, "a readable file written by UniversalCurve.save") from None
    path = DriftPath(problem, start, made_of["metric"], made_of["fraction"])
    same = json.loads(json.dumps(problem.settings(), default=str)) == made_of["problem"]
    if not same or hashlib.sha256(np.ascontiguousarray(path.start).tobytes()).hexdigest() != made_of["start"]:
        raise InputError("curve", file, "the curve of this problem and start")
    return UniversalCurve(data, path)


def _dataset(courses: list[_Course], path: DriftPath, made_of: str) -> xr.Dataset:
    times = np.array([course.time(path.fraction) for course in courses])
    here, both = ("point",), ("point", "record")
    unit, clock = "curvature^(1/3)", "curvature^(-1/3)"
    return xr.Dataset(
        {
            "time": (here, times[:, 0], {"units": clock, "long_name": "tau = (c lr^2)^(1/3) times the steps to the target"}),
            "time_se": (here, times[:, 1], {"units": clock}),
            "clock": (both, np.stack([course.clock for course in courses]), {"units": clock, "long_name": "tau"}),
            "mean": (both, np.stack([course.mean for course in courses]), {"long_name": f"mean {path.metric}"}),
            "mean_se": (both, np.stack([course.mean_se for course in courses])),
            "n_seeds": (here, [_PATHS if course.values is None else len(course.values) for course in courses]),
        },
        coords={"scaled_one_minus_beta": ("point", [course.scaled for course in courses], {"units": unit})},
        attrs={"made_of": made_of, "theory": "Critical limit"},
    )
