"""T9: the best momentum for a learning rate by every way that applies, with uncertainty, checks and a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.convergence import check_fraction
from ..core.errors import InputError, check_lr, check_one, check_positive
from ..core.threads import one_blas_thread
from ..dynamics.drift_flow import drift_flow
from ..dynamics.label_noise_sgd import LabelNoiseSGD
from ..dynamics.moment_closure import MomentClosure
from ..problems.interpolation import descend_to_manifold
from ..problems.metrics import Metric
from ..problems.problem import Array, Problem, as_problem
from ..theory import formulas
from .closed_form import ClosedForm
from .drift_path import DriftPath
from .effective_loss import TOLERANCE as LOSS_TOLERANCE
from .effective_loss import EffectiveLossPredictor
from .first_phase import first_phase
from .momentum_rule import MomentumRule
from .recommendation import largest_within
from .universal_curve import TOLERANCE as CURVE_TOLERANCE
from .universal_curve import UniversalCurve, universal_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

TRANSFER, CLOSED_FORM, EFFECTIVE_LOSS = "transfer", "closed form", "effective loss"
MOMENT_CLOSURE, CRITICAL_LIMIT, AT_FINITE_LR = "moment closure", "critical limit", "critical limit at finite lr"
METHODS = (TRANSFER, CLOSED_FORM, EFFECTIVE_LOSS, MOMENT_CLOSURE, CRITICAL_LIMIT, AT_FINITE_LR)
"""The ways of T9, from the cheapest to the most faithful."""

_AGREE = (
    1.5  # ways agree if the 1 - beta lie within this factor: the time is flat to 10 % over a factor of 2 [theory: Effective loss]
)
_SMALL = 30  # parameters up to which the moment closure is taken without being asked for
_CLOSURE_GRID = np.geomspace(0.6, 2.4, 7)


@dataclass(frozen=True)
class Target:
    """When training counts as done: `metric` stays below `fraction` of its value at the start of the drift."""

    metric: str | Metric
    fraction: float

    def __post_init__(self) -> None:
        check_fraction(self.fraction, "target")


@dataclass(frozen=True, eq=False)
class Way:
    """What one of METHODS says.

    Attributes:
        one_minus_beta: its 1 - beta
        low, high: its uncertainty (None where it has none to state)
        time: predicted steps to the target, None where it predicts none
        time_se: standard error of it from the noise drawn, 0 where none was
        tried, times: 1 - beta of all momenta tried, increasing, and their times, (n,)
        basis: what it rests on
    """

    one_minus_beta: float
    low: float | None
    high: float | None
    time: float | None
    time_se: float
    tried: Floats
    times: Floats
    basis: str


@dataclass(frozen=True)
class Check:
    """An assumption, what was found, and whether it holds."""

    name: str
    holds: bool
    found: str


@dataclass(frozen=True, eq=False)
class Prediction:
    """The best momentum for `lr` and how sure it is, made by `predict` [theory: Ways to predict].

    Attributes:
        lr, noise, target: what was asked
        ways: by name, those of METHODS that apply
        method: the way that is recommended
        checks: the assumptions of the theory
        verdict: whether the ways agree, and which assumption broke if not
        edge: 1 - beta below which training leaves the flat region or never meets the target; None if no way saw one
    """

    lr: float
    noise: float
    target: Target
    ways: dict[str, Way]
    method: str
    checks: tuple[Check, ...]
    verdict: str
    edge: float | None

    @property
    def best(self) -> Way:
        """What the recommended way says."""
        return self.ways[self.method]

    @property
    def one_minus_beta(self) -> float:
        """The recommended 1 - beta."""
        return self.best.one_minus_beta

    @property
    def momentum(self) -> float:
        """The recommended momentum."""
        return 1 - self.one_minus_beta

    @property
    def time(self) -> float | None:
        """Predicted steps to the target at the recommended momentum."""
        return self.best.time

    def __str__(self) -> str:
        lines = [
            f"lr = {self.lr:.4g}: momentum {self.momentum:.6g} (1 - beta = {self.one_minus_beta:.4g}), by {self.method}",
            f"target: {self.target.metric} below {self.target.fraction:.3g} of its start",
            f"  {'way':15} {'1 - beta':>10}  {'from':>9} {'to':>9} {'steps':>16}",
        ]
        for name, way in self.ways.items():
            span = f"{'':>9} {'':>9}" if way.low is None or way.high is None else f"{way.low:9.4g} {way.high:9.4g}"
            steps = "" if way.time is None else f"{way.time:.4g}" + (f" ± {way.time_se:.2g}" if way.time_se else "")
            lines.append(f"  {name:15} {way.one_minus_beta:10.4g}  {span} {steps:>16}")
        if self.edge is not None:
            lines.append(f"  edge: below 1 - beta = {self.edge:.4g} training does not meet the target")
        lines += [f"  {'holds' if check.holds else 'FAILS':5}  {check.name}: {check.found}" for check in self.checks]
        return "\n".join([*lines, self.verdict])

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists; a time that is never met is None."""

        def plain(x: Any) -> Any:
            if isinstance(x, np.ndarray):
                return [plain(value) for value in x.tolist()]
            return None if isinstance(x, float) and not np.isfinite(x) else x

        return {
            "lr": self.lr,
            "noise": self.noise,
            "target": {"metric": str(self.target.metric), "fraction": self.target.fraction},
            "momentum": self.momentum,
            "one_minus_beta": self.one_minus_beta,
            "time": plain(self.time),
            "method": self.method,
            "edge": self.edge,
            "ways": {name: {key: plain(value) for key, value in vars(way).items()} for name, way in self.ways.items()},
            "checks": [asdict(check) for check in self.checks],
            "verdict": self.verdict,
        }

    def plot(self, axes: Axes | None = None) -> Axes:
        """Time against 1 - beta by every way that predicts it, recommendations and edge; needs matplotlib."""
        from matplotlib.figure import Figure

        from ..figures.time_against_momentum import draw

        if axes is None:
            axes = Figure(figsize=(6.4, 4.2), layout="constrained").add_subplot()
        curves = {
            name: (way.tried[np.isfinite(way.times)], way.times[np.isfinite(way.times)], None)
            for name, way in self.ways.items()
            if np.isfinite(way.times).any()
        }
        draw(axes, curves, {name: way.one_minus_beta for name, way in self.ways.items()}, self.edge)
        axes.legend(fontsize=8)
        return axes


@one_blas_thread()
def predict(
    problem: Problem,
    lr: float,
    *,
    noise: float,
    start: ArrayLike | None = None,
    target: Target | tuple[str, float] | None = None,
    methods: Sequence[str] | None = None,
    reference: tuple[float, float] | None = None,
    curve: UniversalCurve | None = None,
    store: str | Path | None = None,
    nesterov: bool = False,
    workers: int = -1,
    progress: bool | None = None,
) -> Prediction:
    """The best momentum for `lr`, by every way of T9 that applies.

    Args:
        problem: what moves
        lr: eta > 0
        noise: c = sigma^2 / B > 0, in units of the loss
        start: where training starts, (N,): on Gamma, or anywhere, and then the descent to Gamma is counted (None: the problem's
            own `interpolating_start()`)
        target: (metric, fraction) (None: the test error at a tenth of its start, or, for a problem without one, nine tenths of
            the way that tr H falls)
        methods: some of METHODS (None: all but the moment closure of larger problems and the critical limit at finite lr, which
            is worth its time where eigenvectors turn or modes soften: docs/predictions.md)
        reference: a tuned (lr, momentum), for "transfer"
        curve: a universal curve made before, of the same problem, start and target
        store: a folder where universal curves are kept and found again
        nesterov: the look-ahead update; the critical limit does not describe it
        workers: threads, -1 for all cores; the numbers do not depend on it
        progress: a bar with the time left; None: if standard error is a terminal and it takes over two seconds

    Raises:
        InputError: for a value out of range, or a target that is not met.

    >>> import sde_momentum as sm
    >>> problem = sm.MatrixSensing(6, 1, 20)
    >>> answer = sm.predict(problem, 0.01, noise=5e-4, methods=["closed form"])
    >>> answer.method, bool(0.9 < answer.momentum < 1)
    ('closed form', True)
    """
    problem = as_problem(problem)
    rate, c = check_one(check_lr, lr, "lr"), check_one(check_positive, noise, "noise")
    asked = _check_methods(methods, problem, reference, nesterov)
    begin = problem.interpolating_start() if start is None else problem.check_point(start)
    landing, off = _landing(problem, begin)
    goal = _default_target(problem, landing) if target is None else target if isinstance(target, Target) else Target(*target)
    metric = problem.metric_name(goal.metric, "target")
    path = DriftPath(problem, landing, metric, goal.fraction)
    if curve is not None and not _same_way(curve.path, path):
        raise InputError("curve", curve.path.problem.name, "the curve of this problem, start and target")
    geometry = ClosedForm(path, c)
    before = first_phase(problem, begin, rate, nesterov=nesterov) if off else None
    ways: dict[str, Way] = {}
    edge: float | None = None
    if TRANSFER in asked and reference is not None:
        rule = MomentumRule.from_reference(*reference)
        value = float(rule.one_minus_beta(rate))
        ways[TRANSFER] = Way(value, None, None, None, 0.0, np.empty(0), np.empty(0), rule.source)
    if CLOSED_FORM in asked:
        value = geometry.one_minus_beta(rate)
        low, high = geometry.uncertainty(rate)
        ways[CLOSED_FORM] = Way(
            value, low, high, geometry.time(rate, value), 0.0, np.empty(0), np.empty(0), f"c = {c:.4g}, mu = {path.curvature:.4g}"
        )
    if EFFECTIVE_LOSS in asked:
        predictor = EffectiveLossPredictor(
            problem, landing, c, metric=metric, fraction=goal.fraction, nesterov=nesterov, path=path
        )
        best = predictor.recommend(rate)
        ways[EFFECTIVE_LOSS] = _way(
            best.tried[::-1], best.times[::-1], LOSS_TOLERANCE, 0.0, "noise-free heavy ball on L_eff", before
        )
    if MOMENT_CLOSURE in asked:
        ways[MOMENT_CLOSURE] = _moment_closure(
            problem, path, rate, c, geometry.one_minus_beta(rate), nesterov, before, workers, progress
        )
    for name in (CRITICAL_LIMIT, AT_FINITE_LR):
        if name in asked:
            used = curve
            if used is None or name == AT_FINITE_LR:
                used = universal_curve(
                    problem, landing, metric=metric, fraction=goal.fraction, store=store, workers=workers, progress=progress,
                    scaled_lr=c**2 * rate if name == AT_FINITE_LR else None,
                )  # fmt: skip
            ways[name], edge = _critical_limit(used, rate, c, before)
    method = next(
        name for name in (AT_FINITE_LR, CRITICAL_LIMIT, MOMENT_CLOSURE, EFFECTIVE_LOSS, CLOSED_FORM, TRANSFER) if name in ways
    )
    checks = _checks(path, geometry, rate, ways[method].one_minus_beta, c, off, edge)
    return Prediction(rate, c, goal, ways, method, checks, _verdict(ways, method, checks), edge)


def _check_methods(
    methods: Sequence[str] | None, problem: Problem, reference: tuple[float, float] | None, nesterov: bool
) -> tuple[str, ...]:
    if methods is None:
        left_out = {CRITICAL_LIMIT, AT_FINITE_LR} if nesterov else {AT_FINITE_LR}
        left_out |= {TRANSFER} if reference is None else set()
        left_out |= {MOMENT_CLOSURE} if problem.n_parameters > _SMALL else set()
        return tuple(name for name in METHODS if name not in left_out)
    for name in methods:
        if name not in METHODS:
            raise InputError("methods", name, ", ".join(METHODS))
    if not methods:
        raise InputError("methods", "none", f"some of {', '.join(METHODS)}")
    if TRANSFER in methods and reference is None:
        raise InputError("reference", None, "a tuned (lr, momentum), for the method 'transfer'")
    limits = {CRITICAL_LIMIT, AT_FINITE_LR} & set(methods)
    if limits and nesterov:
        raise InputError("methods", limits.pop(), "another for Nesterov: its modes relax faster than the critical limit's")
    return tuple(methods)


def _landing(problem: Problem, start: Array) -> tuple[Array, bool]:
    """A point of Gamma, and whether the start was off it."""
    gap = float(np.linalg.norm(problem.residual(start)))
    if gap <= 1e-6 * (1 + float(np.linalg.norm(problem.targets))):
        return start, False
    return descend_to_manifold(problem, start), True


def _same_way(one: DriftPath, other: DriftPath) -> bool:
    same = one.problem.settings() == other.problem.settings() and (one.metric, one.fraction) == (other.metric, other.fraction)
    return same and np.allclose(one.start, other.start, rtol=1e-9, atol=1e-12)


def _default_target(problem: Problem, start: Array) -> Target:
    if np.isfinite(problem.test_error(start)) and problem.test_error(start) > 0:
        return Target("test_error", 0.1)
    flow = drift_flow(problem, start, max_steps=1000, unfinished="accept")
    first, last = problem.trace_hessian(flow.points[[0, -1]])
    return Target("trace_hessian", float((last + 0.1 * (first - last)) / first))


def _way(tried: Floats, times: Floats, tolerance: float, error: float, basis: str, before: Any) -> Way:
    """The recommendation from a curve of times, the first phase added where there is one."""
    total = times if before is None else times + before(tried)
    value, time = largest_within(tried, total, (1 + tolerance) * float(total.min()))
    good = tried[total <= (1 + 2 * tolerance) * total.min()]
    return Way(value, float(good.min()), float(good.max()), time, error, tried, total, basis)


def _critical_limit(curve: UniversalCurve, lr: float, noise: float, before: Any) -> tuple[Way, float | None]:
    """What a universal curve says, and where its edge lies."""
    found = curve.recommend(lr, noise)
    error = float(curve.scaled_time_se[curve.best] / curve.scaled_time[curve.best]) * found.time
    way = _way(found.tried, found.times, CURVE_TOLERANCE, error, "simulation of the critical limit", before)
    shift = way.one_minus_beta / found.one_minus_beta
    edge = curve.one_minus_beta(lr, float(np.sqrt(np.prod(curve.edge))), noise) if curve.edge[0] else None
    return replace(way, low=found.low * shift, high=found.high * shift), edge


def _moment_closure(
    problem: Problem, path: DriftPath, lr: float, noise: float, guess: float, nesterov: bool, before: Any, workers: int,
    progress: bool | None,
) -> Way:  # fmt: skip
    from ..core.convergence import convergence_time

    label_noise = float(np.sqrt(noise * problem.n_outputs))
    closure = MomentClosure(LabelNoiseSGD(problem, label_noise, nesterov=nesterov))
    tried = np.unique(np.minimum(guess * _CLOSURE_GRID, 1.0))
    times = np.empty(len(tried))
    for i, delta in enumerate(tried):
        steps = np.unique(np.linspace(0, 2.5 * float(path.expected_time(lr, delta, noise)), 200).astype(int))
        run = closure.solve(
            path.start, steps, lr=lr, momentum=1 - delta, metrics=[path.metric], workers=workers, progress=progress
        )
        values = run[path.metric].values[0, 0]
        times[i] = convergence_time(np.where(np.isfinite(values), values, np.inf), steps, path.fraction)
    if not np.isfinite(times).any():
        raise InputError("target", path.fraction, "a target that the moment closure meets")
    return _way(tried, times, CURVE_TOLERANCE, 0.0, "Gaussian moment closure", before)


def _checks(
    path: DriftPath, geometry: ClosedForm, lr: float, delta: float, noise: float, off: bool, edge: float | None
) -> tuple[Check, ...]:
    problem, flattest = path.problem, path.flattest
    top = float(np.linalg.eigvalsh(problem.jacobian(path.start) @ problem.jacobian(path.start).T)[-1]) / problem.n_outputs
    limit = float(formulas.heavy_ball_stability_limit(delta)) / top
    slow = path.overdamped_share(lr, delta)
    kappa = float(formulas.critical_kappa(lr, delta, noise))
    coupling = flattest.coupling(path.arrival) / max(flattest.curvature(path.arrival), np.finfo(float).tiny)
    full = flattest.rank == problem.n_outputs
    found = [
        Check("interpolating", True, "started off Gamma, the descent is counted" if off else "the start is on Gamma"),
        Check("normal modes stable", lr < 0.9 * limit, f"lr is {lr / limit:.2g} of the limit at the start"),
        Check("omega > delta", slow < 0.1, f"{100 * slow:.2g} % of the force comes from overdamped modes"),
        Check("eigenvalues distinct", full, "J has full rank at the flattest point" if full else
              f"{problem.n_outputs - flattest.rank} of {problem.n_outputs} modes vanish at the flattest point"),
        Check("the drift comes to rest", path.flow.at_rest, "it does" if path.flow.at_rest else "tr H still falls slowly"),
        Check("small coupling", coupling < 1, f"g / m = {coupling:.2g} at the flattest point; matters to L_eff and closed form"),
    ]  # fmt: skip
    if geometry.state is not None:
        bound = geometry.state.edge_kappa
        inside = kappa < bound
        found.append(Check("inside the stability edge", inside, f"kappa = {kappa:.3g}, edge {bound:.3g}"))
    elif edge is not None:
        found.append(Check("inside the stability edge", delta > edge, f"1 - beta = {delta:.3g}, edge {edge:.3g}"))
    return tuple(found)


def _verdict(ways: dict[str, Way], method: str, checks: tuple[Check, ...]) -> str:
    values = np.array([way.one_minus_beta for way in ways.values()])
    broken = ", ".join(check.name for check in checks if not check.holds)
    if len(values) == 1:
        return "one way only: nothing to compare with" + (f"; broken: {broken}" if broken else "")
    spread = float(values.max() / values.min())
    if spread <= _AGREE:
        return f"the ways agree: 1 - beta within a factor of {spread:.2f}" + (f"; broken: {broken}" if broken else "")
    furthest = max(ways, key=lambda name: abs(np.log(ways[name].one_minus_beta / ways[method].one_minus_beta)))
    why = f"broken: {broken}" if broken else "no assumption that was checked is broken"
    return f"the ways differ by a factor of {spread:.2f}, {furthest} most from {method}: {why}"
