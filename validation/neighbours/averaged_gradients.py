"""Averages of gradients: dampened momentum and Adam gain nothing from momentum above 1 - beta ~ lr^2
[theory: Averages of gradients]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import product
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

import sde_momentum as sm
from sde_momentum.core.threads import in_order
from sde_momentum.figures.style import BLACK, LINES, STYLE, plain_ticks
from sde_momentum.predictors import UniversalCurve, adam_curvature
from sde_momentum.predictors.curve.settings import CurveSettings
from sde_momentum.predictors.measured_optimum import PowerLaw
from sde_momentum.problems.registry import built_in

from ..drawing import measured as points
from ..drawing import plt
from ..estimates import both_exponents, fitted_laws
from .adam_effective_loss import adam_effective_course
from .averaged_descent import averaged_descent
from .averaged_edge import TARGET, edge_with_error, edges, linear_time, times_to_target
from .drift_rate import Measured, weighted_slope

Floats = NDArray[np.float64]

TITLE = "Averages of gradients: dampened momentum and Adam"
SOURCE = "Li, Wen, Lyu: Adam reduces a unique form of sharpness (arXiv 2511.02773)"
CLAIM = (
    "Under label noise Adam moves along the minima towards smaller tr(Diag(H)^(1/2)), where SGD moves towards smaller tr(H). "
    "Not claimed there: how momentum changes the speed."
)
DERIVED = (
    "With averages of gradients in place of sums (dampening = beta, Adam's beta1) the drift does not depend on momentum: its "
    "rate is k0 = lr^2 c mu / 4 for dampened SGD, lr^2 mu_A / 4 for Adam, whose noise strength c cancels. Momentum begins to "
    "matter where 1 - beta comes down to 4 k0: exponent 2. From an empty average dampened SGD is slower below. With bias "
    "correction the energies are at first twice the stationary ones, so that Adam is faster near the bound, and slower than "
    "without momentum only below it. AdamW's decay h bypasses the average: the bound is (sqrt(k0) + sqrt(k0 + h))^2."
)

N_MODES, CURVATURE, START, N_RECORDS = 16, 1.0, 0.2, 250
VALLEY_NOISE, SIGMA, ADAM_SIGMA, BETA2 = 0.2, 0.1, 0.3, 0.999


@dataclass(frozen=True)
class Setting:
    """One optimizer on one problem.

    Attributes:
        lr: learning rates
        scaled: 1 - beta over its unit, decreasing; the first, far above, measures the plateau
        level: the edge is where the time over the plateau's first crosses this, at smaller and smaller 1 - beta
    """

    lr: tuple[float, ...]
    scaled: tuple[float, ...]
    level: float


SETTINGS = {
    "dampened, valley": Setting((0.063, 0.09, 0.14, 0.2), (8, 0.8, 0.6, 0.5, 0.42, 0.35, 0.3), 1.1),
    "dampened, matrix sensing": Setting((0.28, 0.4, 0.57, 0.8), (12, 1.2, 0.8, 0.6, 0.5, 0.42, 0.35), 1.3),
    "Adam, valley": Setting((0.028, 0.04, 0.063, 0.09), (20, 0.7, 0.6, 0.5, 0.45, 0.4, 0.35, 0.3), 1.0),
    "Adam, matrix sensing": Setting((0.004, 0.0057, 0.008, 0.0113), (500, 110, 70, 45, 30, 20, 10), 0.9),
}
"""1 - beta in units of 4 k0: lr^2 c mu (dampened), lr^2 mu_A (Adam in the valley), and lr^2 (Adam in matrix sensing, where some
H_ii vanish at the flattest point, so that mu_A does not exist)."""


@dataclass(frozen=True)
class Variant:
    """Adam in the valley at one learning rate, otherwise than in SETTINGS."""

    noise: float = 1.0
    beta2: float = BETA2
    beta2_scales: bool = False
    decay: float = 0.0


VARIANTS = {
    "c = 1/4": Variant(noise=0.25),
    "c = 4": Variant(noise=4.0),
    "1 - beta2 = 0.01": Variant(beta2=0.99),
    "1 - beta2 = 4 k0": Variant(beta2_scales=True),
    "weight decay, lr wd = k0": Variant(decay=1.0),
}
VARIANT_LR = 0.04
VARIANT_SCALED = (20, 0.7, 0.6, 0.5, 0.45, 0.4, 0.35, 0.3, 0.25)

SPREAD_LR, SPREAD_BETA2 = 0.05, (0.9, 0.97, 0.99)
"""Of the spread along the valley that Adam's second moments make by themselves, without momentum."""

NETWORK_LR, NETWORK_SCALED, NETWORK_EPSILON = (0.004, 0.008), (2000.0, 300.0, 60.0, 15.0), (0.0, 5e-3)
"""Adam on a tanh teacher-student network, whose H_ii span six decades: 1 - beta1 over lr^2; epsilon, of Adam, of which the larger
is a tenth of the gradients' noise where that is largest."""


@dataclass(frozen=True)
class Profile:
    """Amount of work: which SETTINGS, how many of their largest learning rates, whether VARIANTS, runs in valley and sensing."""

    settings: tuple[str, ...]
    n_lr: int
    variants: bool
    n_valley: int
    n_sensing: int


PROFILES = {"quick": Profile(tuple(SETTINGS), 2, False, 64, 16), "full": Profile(tuple(SETTINGS), 4, True, 128, 32)}


# --- Problems -----------------------------------------------------------------------------------------------------------
def valley() -> tuple[sm.Valley, Floats, float]:
    """The valley, the coordinates in which Adam normalises (turned, or theta would have no gradient noise), and mu_A there."""
    problem = sm.Valley(np.ones(N_MODES), 0.0, curvature=CURVATURE)
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((N_MODES + 1, N_MODES + 1)))[0]
    direction = basis[0]  # of theta in Adam's coordinates; H = 1 - e e^T there, and every eigenvalue bends by mu / n
    roots = np.sqrt(1 - direction**2)
    return problem, basis, float(CURVATURE / N_MODES * roots.sum() / (direction**2 @ roots))


def sensing() -> tuple[sm.MatrixSensing, Floats]:
    """Matrix sensing of d = 8 and its interpolating start."""
    problem = sm.MatrixSensing(8, 1, 32)
    return problem, problem.interpolating_start()


def turned_curvature() -> float:
    """mu_A of `valley` by the library, in Adam's own coordinates."""
    problem, basis, _ = valley()
    turned = sm.Problem.from_function(
        lambda w: problem.outputs(w @ basis.T), np.zeros(N_MODES), N_MODES + 1, batched=True, name="turned valley"
    )
    return adam_curvature(sm.ManifoldPoint(turned, np.zeros(N_MODES + 1)), basis[0])


# --- Measurement --------------------------------------------------------------------------------------------------------
def _valley_cell(
    lr: float, delta: float, horizon: float, n_runs: int, seed: int, *, beta2: float | None, noise: float, decay: float = 0.0
) -> Floats:
    problem, basis, _ = valley()
    clock = np.unique(np.linspace(0, horizon, N_RECORDS).astype(np.int64))
    runs = averaged_descent(
        problem, problem.start(START), clock, lr=lr, beta1=1 - delta, beta2=beta2, n_runs=n_runs, seed=seed,
        label_noise=float(np.sqrt(noise * N_MODES)), weight_decay=decay, basis=None if beta2 is None else basis,
    )  # fmt: skip
    return times_to_target(clock, runs[..., 0], seed)


def _sensing_cell(lr: float, delta: float, horizon: float, n_runs: int, seed: int, *, beta2: float | None) -> Floats:
    problem, start = sensing()
    clock = np.unique(np.linspace(0, horizon, N_RECORDS).astype(np.int64))
    runs = averaged_descent(
        problem, start, clock, lr=lr, beta1=1 - delta, beta2=beta2, n_runs=n_runs, seed=seed,
        label_noise=SIGMA if beta2 is None else ADAM_SIGMA,
    )  # fmt: skip
    return times_to_target(clock, problem.test_error(runs.reshape(-1, runs.shape[-1])).reshape(runs.shape[:2]), seed)


def _spread(beta2: float, n_runs: int, seed: int) -> Floats:
    """Mean of theta^2 over late times and runs, and its standard error: (2,)."""
    problem, basis, curvature = valley()
    horizon = 8 / (SPREAD_LR**2 * curvature)  # two of the drift's e-folds
    clock = np.linspace(horizon, 4 * horizon, 40).astype(np.int64)
    runs = averaged_descent(
        problem, problem.start(0.0), clock, lr=SPREAD_LR, beta1=0.0, beta2=beta2, n_runs=n_runs, seed=seed,
        label_noise=float(np.sqrt(N_MODES)), basis=basis,
    )  # fmt: skip
    squares = np.square(runs[..., 0]).mean(axis=0)
    return np.array([squares.mean(), squares.std(ddof=1) / np.sqrt(n_runs)])


def _network(lr: float, scaled: float, epsilon: float, n_runs: int, seed: int) -> Floats:
    """tr H of a tanh network after 0.3 / lr^2 steps of Adam over that at the start: mean and standard error, (2,)."""
    problem, start = built_in("two-layer-tanh").setup()
    runs = averaged_descent(
        problem, start, [0, int(0.3 / lr**2)], lr=lr, beta1=1 - lr**2 * scaled, beta2=BETA2, epsilon=epsilon, n_runs=n_runs,
        seed=seed, label_noise=ADAM_SIGMA,
    )  # fmt: skip
    share = problem.trace_hessian(runs[1]) / problem.trace_hessian(start)
    return np.array([share.mean(), share.std(ddof=1) / np.sqrt(n_runs)])


def predicted_spread(beta2: float) -> float:
    """rho^2 / (2 mu_A (rho + a)), rho = 1 - beta2, a = lr at c = lambda = 1, and the normal modes' part of it
    [theory: Averages of gradients, eq. 12.10]."""
    rho, (_, basis, curvature) = 1 - beta2, valley()
    direction = basis[0]
    roots = np.sqrt(1 - direction**2)
    # the normal modes' own part: Adam moves them along D times the normal space, which is not orthogonal to theta
    oblique = SPREAD_LR / 2 * float(direction**2 @ (1 / roots) - 1 / (direction**2 @ roots))
    return rho**2 / (2 * curvature * (rho + SPREAD_LR)) + oblique


def measure(profile: str | Profile, seed: int, workers: int, report: Callable[[float], None]) -> xr.Dataset:
    """Times to the target against 1 - beta for every setting and learning rate, and the edges of their plateaus."""
    plan = PROFILES[profile] if isinstance(profile, str) else profile
    cells = _Cells(plan, seed)
    jobs = [job for _, _, job in cells.plan()]
    found = []
    for row in in_order(iter(jobs), workers):
        found.append(row)
        report(1 / len(jobs))
    return cells.collect(found)


class _Cells:
    """The simulations, in order, and what is predicted of them."""

    def __init__(self, plan: Profile, seed: int) -> None:
        self._plan, self._seed = plan, seed
        self._valley, self._sensing = valley(), sensing()
        problem, _ = self._sensing
        self._noise, self._adam_noise = SIGMA**2 / problem.n_outputs, ADAM_SIGMA**2 / problem.n_outputs
        self._settings = {name: SETTINGS[name] for name in plan.settings}

    @cached_property
    def _curve(self) -> UniversalCurve:
        problem, start = self._sensing
        return sm.universal_curve(problem, start, ("test_error", TARGET), settings=CurveSettings(above=8.0), progress=False)

    @cached_property
    def _mu(self) -> float:
        flattest = self._curve.path.flattest
        return flattest.curvature(self._sensing[1] - flattest.w)

    def unit(self, setting: str, lr: float) -> float:
        """4 k0, by which 1 - beta is scaled."""
        if setting.endswith("valley"):
            return lr**2 * (VALLEY_NOISE * CURVATURE if setting.startswith("dampened") else self._valley[2])
        return lr**2 * (self._noise * self._mu if setting.startswith("dampened") else 1.0)

    def plan(self) -> list[tuple[str, float, Callable[[], Floats]]]:
        """(setting or variant, lr, job) of every simulation."""
        out: list[tuple[str, float, Callable[[], Floats]]] = []
        for name, setting in self._settings.items():
            for lr in setting.lr[-self._plan.n_lr :]:
                for scaled in setting.scaled:
                    out.append((name, lr, self._job(name, lr, scaled, len(out))))
        if self._plan.variants:
            out += [
                (name, VARIANT_LR, self._variant(variant, scaled, len(out) + i))
                for name, variant in VARIANTS.items()
                for i, scaled in enumerate(VARIANT_SCALED)
            ]
            out += [
                (f"beta2 = {beta2:g}", SPREAD_LR, partial(_spread, beta2, self._plan.n_valley, self._seed * 1_000_003 + 9000 + i))
                for i, beta2 in enumerate(SPREAD_BETA2)
            ]
            out += [
                (
                    f"network, epsilon = {epsilon:g}",
                    lr,
                    partial(_network, lr, scaled, epsilon, self._plan.n_sensing, self._seed * 1_000_003 + 9500 + i),
                )
                for i, (epsilon, lr, scaled) in enumerate(product(NETWORK_EPSILON, NETWORK_LR, NETWORK_SCALED))
            ]
        return out

    def _job(self, name: str, lr: float, scaled: float, number: int) -> Callable[[], Floats]:
        delta, seed = scaled * self.unit(name, lr), self._seed * 1_000_003 + number
        if name.endswith("valley"):
            adam = name.startswith("Adam")
            plateau = np.log(1 / TARGET) / (self.unit(name, lr) / 4)
            expected = plateau * max(linear_time(scaled, adam=adam), 1.0)
            noise = 1.0 if adam else VALLEY_NOISE
            return partial(
                _valley_cell, lr, delta, 1.5 * expected, self._plan.n_valley, seed, beta2=BETA2 if adam else None, noise=noise
            )
        if name.startswith("dampened"):
            horizon = 1.4 * float(self._curve.convergence_time(lr * delta, delta, self._noise)[0])
            return partial(_sensing_cell, lr, delta, horizon, self._plan.n_sensing, seed, beta2=None)
        return partial(_sensing_cell, lr, delta, 0.7 / lr**2, self._plan.n_sensing, seed, beta2=BETA2)

    def _variant(self, variant: Variant, scaled: float, number: int) -> Callable[[], Floats]:
        rate = self.unit("Adam, valley", VARIANT_LR) / 4
        beta2 = 1 - 4 * rate if variant.beta2_scales else variant.beta2
        expected = np.log(1 / TARGET) / rate / (1 + variant.decay) * max(linear_time(scaled, adam=True, decay=variant.decay), 1.0)
        return partial(
            _valley_cell, VARIANT_LR, 4 * rate * scaled, 1.5 * expected, self._plan.n_valley, self._seed * 1_000_003 + number,
            beta2=beta2, noise=variant.noise, decay=variant.decay * rate / VARIANT_LR,
        )  # fmt: skip

    def predicted(self, name: str, lr: float) -> Floats:
        """Predicted times, (n_scaled,)."""
        setting = SETTINGS[name]
        if name.endswith("valley"):
            plateau = np.log(1 / TARGET) / (self.unit(name, lr) / 4)
            return plateau * np.array([linear_time(scaled, adam=name.startswith("Adam")) for scaled in setting.scaled])
        deltas = self.unit(name, lr) * np.array(setting.scaled)
        if name.startswith("dampened"):
            return np.array([float(self._curve.convergence_time(lr * d, d, self._noise)[0]) for d in deltas])
        problem, start = self._sensing
        clock = np.arange(0, int(0.7 / lr**2), 10)
        course = adam_effective_course(problem, start, lr, deltas, BETA2, self._adam_noise, clock)
        errors = problem.test_error(course.reshape(-1, course.shape[-1])).reshape(course.shape[:2])
        return np.asarray(sm.convergence_time(errors.T, clock, TARGET))

    def collect(self, found: list[Floats]) -> xr.Dataset:
        """The results, from those of the jobs in their order."""
        n_lr, size = self._plan.n_lr, max(len(setting.scaled) for setting in self._settings.values())
        names, shape = list(self._settings), (len(self._settings), self._plan.n_lr, size)
        arrays = {name: np.full(shape, np.nan) for name in ("one_minus_beta", "time", "time_se", "predicted")}
        edge, edge_se, edge_predicted, rates, units = (np.full(shape[:2], np.nan) for _ in range(5))
        at = 0
        for i, (name, setting) in enumerate(self._settings.items()):
            n = len(setting.scaled)
            for j, lr in enumerate(setting.lr[-n_lr:]):
                times, at = np.array(found[at : at + n]), at + n
                unit = self.unit(name, lr)
                delta = unit * np.array(setting.scaled)
                arrays["one_minus_beta"][i, j, :n], arrays["time"][i, j, :n] = delta, times[:, 0]
                with np.errstate(invalid="ignore"):  # a resample may not arrive
                    arrays["time_se"][i, j, :n] = times[:, 1:].std(axis=1, ddof=1)
                arrays["predicted"][i, j, :n] = predicted = self.predicted(name, lr)
                edge[i, j], edge_se[i, j] = edge_with_error(delta, times, setting.level)
                edge_predicted[i, j] = edges(delta, predicted, setting.level)
                rates[i, j], units[i, j] = lr, unit
        variants = list(VARIANTS) if self._plan.variants else []
        level, scaled = SETTINGS["Adam, valley"].level, VARIANT_SCALED
        rows = []
        for name in variants:
            times, at = np.array(found[at : at + len(scaled)]), at + len(scaled)
            unit = self.unit("Adam, valley", VARIANT_LR)
            expected = np.array([linear_time(q, adam=True, decay=VARIANTS[name].decay) for q in scaled])
            plateau = np.log(1 / TARGET) / (unit / 4) / (1 + VARIANTS[name].decay)
            rows.append(
                (
                    *edge_with_error(np.array(scaled), times, level),
                    edges(np.array(scaled), expected, level),
                    times[0, 0] / plateau,
                )
            )
        table = np.array(rows).reshape(-1, 4)
        spread = np.array([(*found[at + i], predicted_spread(beta2)) for i, beta2 in enumerate(SPREAD_BETA2) if variants])
        spread = spread.reshape(-1, 3)
        network = np.array(found[at + len(spread) :]).reshape(-1, len(NETWORK_LR), len(NETWORK_SCALED), 2)
        network_dims = ("epsilon", "network_lr", "network_scaled")
        cells, three = ("setting", "rate"), ("setting", "rate", "point")
        one, steps = {"units": "1"}, {"units": "steps"}
        return xr.Dataset(
            {
                "one_minus_beta": (three, arrays["one_minus_beta"], one),
                "time": (three, arrays["time"], {"long_name": "time to a tenth of the start", **steps}),
                "time_se": (three, arrays["time_se"], steps),
                "predicted": (three, arrays["predicted"], steps),
                "edge": (cells, edge, {"long_name": "1 - beta where the time leaves its plateau", **one}),
                "edge_se": (cells, edge_se, one),
                "edge_predicted": (cells, edge_predicted, one),
                "lr": (cells, rates, {"long_name": "learning rate", **one}),
                "unit": (cells, units, {"long_name": "4 k0, the unit of 1 - beta", **one}),
                "variant_edge": (("variant",), table[:, 0], {"long_name": "edge over 4 k0", **one}),
                "variant_edge_se": (("variant",), table[:, 1], one),
                "variant_edge_predicted": (("variant",), table[:, 2], one),
                "variant_plateau": (("variant",), table[:, 3], {"long_name": "time without momentum over the predicted", **one}),
                "spread": (("beta2",), spread[:, 0], {"long_name": "stationary variance of theta", "units": "parameter^2"}),
                "spread_se": (("beta2",), spread[:, 1], {"units": "parameter^2"}),
                "spread_predicted": (("beta2",), spread[:, 2], {"units": "parameter^2"}),
                "network": (network_dims, network[..., 0], {"long_name": "tr H of the network over its start", **one}),
                "network_se": (network_dims, network[..., 1], one),
            },
            coords={
                "setting": names,
                "variant": np.array(variants, dtype="U40"),
                "beta2": ("beta2", np.array(SPREAD_BETA2[: len(spread)])),
                "epsilon": ("epsilon", np.array(NETWORK_EPSILON[: len(network)])),
                "network_lr": list(NETWORK_LR),
                "network_scaled": list(NETWORK_SCALED),
            },
            attrs={
                "beta2_of_settings": BETA2,
                "sensing_sigma": [SIGMA, ADAM_SIGMA],
                "valley_noise": VALLEY_NOISE,
                "variant_lr": VARIANT_LR,
                "mu_adam": self._valley[2],
                "theory": "Averages of gradients",
            },
        )


# --- What it says -------------------------------------------------------------------------------------------------------
def law(result: xr.Dataset, setting: str) -> tuple[list[PowerLaw], float, Measured]:
    """Power laws of the edge in lr (none with fewer than two edges), the exponent of the predicted edges, and edge over
    predicted, averaged over the lr."""
    at = result.sel(setting=setting)
    error = at.edge_se.values / at.edge.values
    good = np.isfinite(error) & (error > 0)
    if good.sum() < 2:
        return [], np.nan, Measured(np.nan, np.nan)
    lr, edge, predicted = (at[name].values[good] for name in ("lr", "edge", "edge_predicted"))
    derived, weight = weighted_slope(np.log(lr), np.log(predicted), error[good]).value, error[good] ** -2.0
    ratio = float(np.exp((weight * np.log(edge / predicted)).sum() / weight.sum()))
    return fitted_laws(lr, edge, error[good]), derived, Measured(ratio, ratio * float(weight.sum() ** -0.5))


def numbers(result: xr.Dataset) -> dict[str, Any]:
    """What decides about the claims, with 95 % intervals."""
    out: dict[str, Any] = {}
    for setting in result.setting.values:
        laws, derived, ratio = law(result, str(setting))
        at = result.sel(setting=setting)
        out[str(setting)] = {
            "exponent": asdict(laws[0].exponent) if laws else Measured(np.nan, np.nan).to_dict(),
            "derived": derived,
            "over_predicted": ratio.to_dict(),
            "prefactor": float(np.nanmean(at.edge / at.unit)),
            "worst_time": float(np.nanmax(np.abs(at.time / at.predicted - 1))),
        }
    for i, variant in enumerate(result.variant.values):
        edge, error = float(result.variant_edge[i]), float(result.variant_edge_se[i])
        out[str(variant)] = {"edge": Measured(edge, error).to_dict(), "predicted": float(result.variant_edge_predicted[i])}
    for beta2, value, error, expected in zip(
        result.beta2.values, result.spread.values, result.spread_se.values, result.spread_predicted.values, strict=True
    ):
        out[f"beta2 = {beta2:g}"] = {"spread": Measured(float(value / expected), float(error / expected)).to_dict()}
    for i, epsilon in enumerate(result.epsilon.values):
        # the share of tr H that is gone, at the most momentum over that at the least
        gone = 1 - result.network[i]
        ratio, error = gone[:, -1] / gone[:, 0], np.hypot(result.network_se[i, :, -1], result.network_se[i, :, 0]) / gone[:, 0]
        worst = int(np.abs(ratio.values - 1).argmax())
        out[f"network, epsilon = {epsilon:g}"] = {"gain": Measured(float(ratio[worst]), float(error[worst])).to_dict()}
    return out


def findings(result: xr.Dataset) -> list[str]:
    """The findings, in sentences."""
    lines = []
    for setting in result.setting.values:
        laws, derived, ratio = law(result, str(setting))
        at = result.sel(setting=setting)
        level, plateau = SETTINGS[str(setting)].level, at.time.isel(point=0) / at.predicted.isel(point=0)
        lines.append(
            f"{setting}: the time crosses {level:g} of that without momentum at 1 - beta ~ lr^γ, "
            f"{both_exponents(laws) if laws else 'γ unknown: too few edges'}; derived 2 ({derived:.3f} at these lr). It is at "
            f"{float((at.edge / at.unit).mean()):.3g} units; edge over predicted {ratio.value:.3f} ± {ratio.standard_error:.3f}."
        )
        off = float(np.nanmax(np.abs(at.time / at.predicted - 1)))
        lines.append(
            f"{setting}: time without momentum over predicted {float(plateau.min()):.3f} to {float(plateau.max()):.3f}; all "
            f"times, 1 - beta over a factor of {float(at.one_minus_beta.max() / at.one_minus_beta.min()):.0f}, within {off:.0%}."
        )
    for i, variant in enumerate(result.variant.values):
        lines.append(
            f"Adam, valley, {variant}: edge at {float(result.variant_edge[i]):.3f} ± {float(result.variant_edge_se[i]):.3f} "
            f"units, derived {float(result.variant_edge_predicted[i]):.3f}; time without momentum over that at beta2 near 1: "
            f"{float(result.variant_plateau[i]):.3f}."
        )
    for beta2, value, error, expected in zip(
        result.beta2.values, result.spread.values, result.spread_se.values, result.spread_predicted.values, strict=True
    ):
        lines.append(
            f"Adam without momentum, beta2 = {beta2:g}: variance along the valley {value:.4g} ± {error:.2g}, derived "
            f"{expected:.4g} ({value / expected:.2f} ± {error / expected:.2f} of it)."
        )
    for i, epsilon in enumerate(result.epsilon.values):
        for j, lr in enumerate(result.network_lr.values):
            pairs = ", ".join(
                f"{float(v):.4f} ± {float(e):.4f} ({float(q) * lr**2:.2g})"
                for v, e, q in zip(result.network[i, j], result.network_se[i, j], result.network_scaled, strict=True)
            )
            lines.append(f"Adam, tanh network, epsilon = {epsilon:g}, lr = {lr:g}: share of tr H left, by 1 - beta1: {pairs}.")
    return lines


def figure(result: xr.Dataset) -> Figure:
    """Time against 1 - beta, both scaled, for each setting: measured and derived."""
    with plt.rc_context(STYLE):
        drawn, axes = plt.subplots(
            1, result.sizes["setting"], figsize=(1 + 3.5 * result.sizes["setting"], 4.2), sharey=True, squeeze=False
        )
        axes = axes[0]
        for axis, setting in zip(axes, result.setting.values, strict=True):
            at = result.sel(setting=setting)
            for j in range(at.sizes["rate"]):
                colour, here = LINES[j % len(LINES)], at.isel(rate=j)
                plateau = float(here.predicted[0])
                x = here.one_minus_beta / here.unit
                if not str(setting).endswith("valley"):
                    axis.plot(x, here.predicted / plateau, color=colour, lw=1.3)
                points(axis, x, here.time / plateau, here.time_se / plateau, f"lr = {float(here.lr):g}", colour=colour)
            if str(setting).endswith("valley"):
                fine = np.geomspace(float(x.min()), float(x.max()), 60)
                times = [linear_time(float(q), adam=str(setting).startswith("Adam"), rate=2e-3) for q in fine]
                axis.plot(fine, times, color=BLACK, lw=1.3, label="derived")
            unit = "lr²" if setting == "Adam, matrix sensing" else ("lr² μ_A" if setting.startswith("Adam") else "lr² c μ")
            axis.set(xscale="log", xlabel=f"(1 − β) / ({unit})" if " " in unit else f"(1 − β) / {unit}", title=str(setting))
            axis.axhline(1, color="0.6", lw=0.8, ls="--", zorder=0)
            axis.legend(fontsize=8)
            plain_ticks(axis)
        axes[0].set_ylabel("time to a tenth, over that\nderived without momentum")
    return drawn
