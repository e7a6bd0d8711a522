"""Drift of the hidden representation of a two-layer linear network, a diffusion by rotations [theory: Relaxation, eq. 2.12]."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from numpy.typing import NDArray

import sde_momentum as sm
from derivations import models
from sde_momentum.core.errors import InputError
from sde_momentum.figures.style import BLACK, BLUE, LINES, STYLE, plain_ticks
from sde_momentum.geometry.manifold_point import ManifoldPoint
from sde_momentum.problems.compiled import Kernels
from sde_momentum.problems.problem import Array, Problem
from sde_momentum.theory import formulas

from ..drawing import measured as points
from ..drawing import plt
from .drift_rate import Measured, weighted_slope, worst

Floats = NDArray[np.float64]

TITLE = "Representational drift"
SOURCE = (
    "Pashakhanloo, Koulakov: Stochastic gradient descent-induced drift of representation in a two-layer neural network "
    "(arXiv 2302.02563)"
)
CLAIM = (
    "In a two-layer linear network trained on, noise makes the hidden representation diffuse along the minima, while the "
    "output only fluctuates; the diffusion constant follows from the network, the noise and the learning rate."
)
DERIVED = (
    "Rotating the hidden units changes no output, so every sample's gradient is normal to the rotation Xi w: there is no "
    "noise along it, sm.DriftDiffusion has none either, and the angular momentum w.Xi v stays 0 exactly, at any beta. The "
    "angle moves by -(Xi x).dx / |w|^2, the area that the normal fluctuations x sweep: its square grows as D k, "
    "D = |w|^-4 sum_{i<j} Xi_ij^2 (2 lr^2 / delta^2) c lambda_i E x_j x_i, E x_j x_i the stationary pair "
    "covariance for noise of covariance c lambda_j: "
    "2 (lr / delta)^3 c^2 lambda_i lambda_j / (lambda_i + lambda_j) while delta >> lr^(1/2)."
)

N_RECORDS = 16
CORRELATION_TIMES = 40
"""Time between two records in correlation times of the area, so that its increments are independent."""


@dataclass(frozen=True)
class Setting:
    """One (lr, 1 - beta) with the fluctuation of w that sets the noise: lr c / (2 (1 - beta)) = variance."""

    lr: float
    one_minus_beta: float
    variance: float

    @property
    def noise(self) -> float:
        """Noise strength c."""
        return 2 * self.one_minus_beta * self.variance / self.lr

    @property
    def kappa(self) -> float:
        """kappa = lr^2 c / (4 delta^3), small where w stays at the flattest along the rest of Gamma [theory: Critical limit]."""
        return self.lr**2 * self.noise / (4 * self.one_minus_beta**3)


@dataclass(frozen=True)
class Profile:
    """Amount of work of a profile: settings, and the number of runs of each."""

    settings: tuple[Setting, ...]
    n_seeds: int


_LR, _VARIANCE = 0.4, 1e-3
_SMALL = 0.01
"""A kappa below which fluctuations along Gamma are left out."""


def _quiet(one_minus_beta: float) -> Setting:
    """The setting of a variance that keeps kappa below _SMALL."""
    return Setting(_LR, one_minus_beta, _VARIANCE * min(1.0, (one_minus_beta / 0.2) ** 2))


_MOMENTA = (1.0, 0.5, 0.25, 0.12, 0.06, 0.03)
_CRITICAL = Setting(_LR, 0.03, _VARIANCE)
"""kappa = 0.2, where the derivation is expected to fail."""
_SLOPES = (Setting(0.2, 1.0, 5e-4), Setting(0.8, 1.0, 2e-3), Setting(0.4, 1.0, 2.5e-4), Setting(0.4, 1.0, 4e-3))
"""With (0.4, 1, 1e-3): lr by factors of 2 at fixed noise, and noise by factors of 4 at fixed lr."""

PROFILES = {
    "quick": Profile((_quiet(1.0), _quiet(0.25), _quiet(0.06)), 128),
    "full": Profile((*map(_quiet, _MOMENTA), *_SLOPES, _CRITICAL), 1024),
}


class Observed(Problem):
    """A problem whose test error is replaced by a given function of w, so that `sm.solve` records that."""

    def __init__(self, problem: Problem, observable: Callable[[Array], Array]) -> None:
        self.problem, self.observable = problem, observable
        self.name, self.n_parameters, self.targets = problem.name, problem.n_parameters, problem.targets

    def outputs(self, w: Array) -> Array:
        return self.problem.outputs(w)

    def jacobian(self, w: Array) -> Array:
        return self.problem.jacobian(w)

    def contract_hessians(self, w: Array, c: Array) -> Array:
        return self.problem.contract_hessians(w, c)

    @property
    def kernels(self) -> Kernels | None:
        return self.problem.kernels

    def settings(self) -> dict[str, Any]:
        return self.problem.settings()

    def test_error(self, w: Array) -> Array:
        """The given function, in place of the test error."""
        return self.observable(w)


@dataclass(frozen=True, eq=False)
class Network:
    """f = W2 W1 x with two inputs, hidden units and outputs, at its flattest point; w = (W1, W2) row by row.

    The columns of W1 and the rows of W2 are vectors in the plane of the hidden units: as complex numbers z, rotating the
    hidden units multiplies z by exp(i angle).
    """

    problem: Problem
    start: Array

    @classmethod
    @cache
    def make(cls) -> Network:
        """The network, cached: compiling its formulas takes a second."""
        model = models.two_layer_linear(2, 2, 2, n_samples=2)
        return cls(model.compile(), model.flattest_point())

    @staticmethod
    def plane(w: Array) -> NDArray[np.complex128]:
        """Coordinates z of the hidden units as complex numbers, (..., N) -> (..., N / 2)."""
        first, second = w[..., :4].reshape(*w.shape[:-1], 2, 2), w[..., 4:].reshape(*w.shape[:-1], 2, 2)
        both = np.concatenate([first, np.swapaxes(second, -1, -2)], axis=-1)  # (..., hidden, columns of W1 and rows of W2)
        return np.asarray(both[..., 0, :] + 1j * both[..., 1, :])

    @staticmethod
    def rotate(w: Array) -> Array:
        """Derivative Xi w of the parameters by the angle of a rotation: (..., N) -> (..., N)."""
        turned = 1j * Network.plane(w)
        both = np.stack([turned.real, turned.imag], axis=-2)
        second = np.swapaxes(both[..., 2:], -1, -2)
        return np.concatenate([x.reshape(*w.shape[:-1], 4) for x in (both[..., :2], second)], axis=-1)

    def angle(self, w: Array) -> Array:
        """Angle by which the hidden units are turned against the start, radians in (-pi, pi]: (..., N) -> (...)."""
        return np.asarray(np.angle(self.plane(w) @ self.plane(self.start).conj()))

    def diffusion(self, lr: float, one_minus_beta: float, noise: float) -> float:
        """Predicted diffusion constant D in squared radians per step: the mean square of the angle after k steps is D k."""
        point = ManifoldPoint(self.problem, self.start)
        values, normal = point.eigenvalues, point.normal
        # E x_i x_j for Sigma = c lambda_j, as a matrix that is symmetric but for the factor c lambda_i
        pair = formulas.heavy_ball_pair_covariance(lr, values[:, None], values[None, :], one_minus_beta, 1.0)
        area = 2 * lr**2 / one_minus_beta**2 * noise**2 * values[:, None] * values[None, :] * pair
        turn = normal.T @ self.rotate(normal.T).T  # Xi_ij = n_i . Xi n_j
        return float((np.square(turn) * area).sum() / 2 / np.square(self.start).sum() ** 2)

    def spacing(self, lr: float, one_minus_beta: float) -> int:
        """Steps between two records.

        At least those of plain SGD: with underdamped modes the area oscillates by more than it diffuses in a short time.
        """
        slowest = float(ManifoldPoint(self.problem, self.start).eigenvalues.min())
        times = formulas.heavy_ball_relaxation_time(lr, slowest, np.array([one_minus_beta, 1.0]))
        return int(np.ceil(CORRELATION_TIMES * float(times.max()) / 2))


def measure(profile: str | Profile, seed: int, workers: int, report: Callable[[float], None]) -> xr.Dataset:
    """Mean squared angle against time, and its slope, of full-batch label-noise SGD from the flattest point."""
    plan = PROFILES[profile] if isinstance(profile, str) else profile
    network = Network.make()
    problem = Observed(network.problem, network.angle)
    rows = []
    for number, setting in enumerate(plan.settings):
        lr, delta = setting.lr, setting.one_minus_beta
        steps = network.spacing(lr, delta) * np.arange(N_RECORDS + 1)
        found = sm.solve(
            sm.LabelNoiseSGD(problem, float(np.sqrt(setting.noise * problem.n_outputs))),
            network.start,
            steps,
            lr=lr,
            momentum=1 - delta,
            seeds=seed * 1_000_003 + 10_007 * number + np.arange(plan.n_seeds),
            metrics=["test_error", "train_loss"],
            workers=workers,
            progress=False,
        )
        angle = found.test_error.values[0, 0]
        if np.abs(angle).max() > 3:
            raise InputError("--profile", "an angle that may have passed pi", "fewer steps or less noise")
        squares, mine = np.square(np.diff(angle)).mean(axis=-1) / steps[1], np.square(angle)
        rows.append(
            {
                "steps": steps,
                "msd": mine.mean(axis=0),
                "msd_se": mine.std(axis=0, ddof=1) / np.sqrt(plan.n_seeds),
                "diffusion": squares.mean(),
                "diffusion_se": squares.std(ddof=1) / np.sqrt(plan.n_seeds),
                "predicted": network.diffusion(lr, delta, setting.noise),
                "train_loss": found.train_loss.values[0, 0, :, 1:].mean(),
            }
        )
        report(1 / len(plan.settings))
    rate, area = {"units": "squared radians per step"}, {"units": "squared radians"}
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    eigenvalues = ManifoldPoint(network.problem, network.start).eigenvalues
    return xr.Dataset(
        {
            "lr": ("setting", [s.lr for s in plan.settings], {"long_name": "learning rate", "units": "1"}),
            "one_minus_beta": ("setting", [s.one_minus_beta for s in plan.settings], {"units": "1"}),
            "kappa": ("setting", [s.kappa for s in plan.settings], {"long_name": "lr^2 c / (4 (1 - beta)^3)", "units": "1"}),
            "noise": ("setting", [s.noise for s in plan.settings], {"long_name": "c = sigma^2 / P", "units": "1"}),
            "step": (("setting", "time"), columns["steps"], {"long_name": "updates done", "units": "steps"}),
            "msd": (("setting", "time"), columns["msd"], {"long_name": "mean squared angle of the hidden units", **area}),
            "msd_se": (("setting", "time"), columns["msd_se"], area),
            "diffusion": ("setting", columns["diffusion"], {"long_name": "D, measured", **rate}),
            "diffusion_se": ("setting", columns["diffusion_se"], rate),
            "diffusion_predicted": ("setting", columns["predicted"], {"long_name": "D, predicted", **rate}),
            "train_loss": ("setting", columns["train_loss"], {"long_name": "mean loss without noise", "units": "1"}),
        },
        attrs={"n_seeds": plan.n_seeds, "eigenvalues": eigenvalues, "theory": "Relaxation; Drift"},
    )


def scaling(result: xr.Dataset, name: str, of: str = "diffusion") -> Measured | None:
    """Exponent in "lr" or "noise" of D, or "diffusion_predicted", of plain SGD at one value of the other; None: too few."""
    sgd = result.isel(setting=np.flatnonzero(result.one_minus_beta.values == 1))
    fixed = "noise" if name == "lr" else "lr"
    values, counts = np.unique(np.round(sgd[fixed].values, 12), return_counts=True)
    chosen = sgd.isel(setting=np.flatnonzero(np.isclose(sgd[fixed].values, values[np.argmax(counts)])))
    if chosen.sizes["setting"] < 3:
        return None
    relative = chosen.diffusion_se.values / chosen.diffusion.values
    return weighted_slope(np.log(chosen[name].values), np.log(chosen[of].values), relative)


def findings(result: xr.Dataset) -> list[str]:
    """The findings, in sentences."""
    quiet = result.isel(setting=np.flatnonzero(result.kappa.values < _SMALL))
    measured, error, predicted = (quiet[n].values for n in ("diffusion", "diffusion_se", "diffusion_predicted"))
    errors, off = worst(measured, error, predicted)
    lines = [
        f"Measured over derived diffusion constant of the angle, {len(measured)} settings, {result.attrs['n_seeds']} runs each: "
        f"from {(measured / predicted).min():.3f} to {(measured / predicted).max():.3f}; largest difference {off:.1%}, "
        f"at most {errors:.1f} standard errors."
    ]
    lowest, highest = int(np.argmin(quiet.one_minus_beta.values)), int(np.argmax(quiet.one_minus_beta.values))
    for i in (highest, lowest):
        lines.append(
            f"lr = {float(quiet.lr[i]):g}, 1 - beta = {float(quiet.one_minus_beta[i]):g}: D = {measured[i]:.3e} ± {error[i]:.1e} "
            f"squared radians a step, derived {predicted[i]:.3e}."
        )
    for name, label, law in (("lr", "lr", 3), ("noise", "c = sigma^2 / P", 2)):
        slope, ours = scaling(result, name), scaling(result, name, "diffusion_predicted")
        if slope is not None and ours is not None:
            lines.append(
                f"D of plain SGD goes as {label} to the power {slope.value:.3f} ± {slope.standard_error:.3f}; derived: "
                f"{ours.value:.3f} at these lr, {law} in the limit of small lr."
            )
    reduced, reduced_error, _ = _reduced(quiet)
    ratio = reduced[highest] / reduced[lowest]
    spread = ratio * np.hypot(reduced_error[highest] / reduced[highest], reduced_error[lowest] / reduced[lowest])
    lines.append(
        f"As SGD at lr / (1 - beta) it would diffuse {ratio:.2f} ± {spread:.2f} times as fast as it does "
        f"at 1 - beta = {float(quiet.one_minus_beta[lowest]):g}: modes of different frequencies sweep less area."
    )
    for critical in np.flatnonzero(result.kappa.values >= _SMALL):
        at = result.isel(setting=critical)
        lines.append(
            f"Where it stops: at 1 - beta = {float(at.one_minus_beta):g} with kappa = lr^2 c / (4 (1 - beta)^3) = "
            f"{float(at.kappa):.2g} D is {float(at.diffusion / at.diffusion_predicted):.2f} ± "
            f"{float(at.diffusion_se / at.diffusion_predicted):.2f} of the derived, "
            "which leaves out that w fluctuates along Gamma too (critical limit)."
        )
    return lines


def _reduced(result: xr.Dataset) -> tuple[Floats, Floats, Floats]:
    """Reduced diffusion constant D (1 - beta)^3 / (lr^3 c^2): measured, its standard error, predicted."""
    scale = (result.one_minus_beta**3 / (result.lr**3 * result.noise**2)).values
    return (result.diffusion.values * scale, result.diffusion_se.values * scale, result.diffusion_predicted.values * scale)


def figure(result: xr.Dataset) -> Figure:
    """Mean squared angle against time; the diffusion constant against (1 - beta) / lr^(1/2)."""
    with plt.rc_context(STYLE):
        drawn, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4))
        result = result.isel(setting=np.flatnonzero(result.kappa.values < _SMALL))
        main = np.unique(result.one_minus_beta.values, return_index=True)[1][::-1]
        shown = [int(main[i]) for i in sorted({0, len(main) // 2, len(main) - 1})]
        for colour, i in zip(LINES, shown, strict=False):
            at = result.isel(setting=i)
            # each divided by its derived end value, since the sizes differ by the chosen noise
            last = float(at.step[-1])
            unit = float(at.diffusion_predicted) * last
            label = rf"$1-\beta$ = {float(at.one_minus_beta):g}, $k_1$ = {last:,.0f} steps"
            points(left, at.step / last, at.msd / unit, at.msd_se / unit, label, colour=colour, filled=True)
        left.plot([0, 1], [0, 1], color=BLACK, lw=1.2, label="D k, derived")
        left.set(
            xlabel=r"steps $k / k_1$",
            ylabel=r"mean squared angle over $D\,k_1$",
            title=f"Rotation of the hidden units, lr = {float(result.lr[shown[0]]):g}",
        )
        left.legend()
        measured, error, _ = _reduced(result)
        x = (result.one_minus_beta / np.sqrt(result.lr)).values
        network = Network.make()
        dense = np.geomspace(0.8 * x[main].min(), 1.2 * x[main].max(), 100)
        small = 1e-4
        curve = [network.diffusion(small, c * np.sqrt(small), 1.0) * (c * np.sqrt(small)) ** 3 / small**3 for c in dense]
        right.plot(dense, curve, color=BLUE, lw=2, label="derived, small lr")
        right.axhline(curve[-1], color=BLACK, ls=":", lw=1.2, label=r"SGD at lr$/(1-\beta)$")
        points(right, x, measured, error, "measured, 95 %", colour=LINES[1])
        right.set(
            xscale="log",
            yscale="log",
            xlabel=r"$C = (1-\beta)\,/\,\mathrm{lr}^{1/2}$",
            ylabel=r"$D\,(1-\beta)^3 / (\mathrm{lr}^3 c^2)$ (squared radians)",
            title="Diffusion constant of the hidden representation",
        )
        plain_ticks(right)
        right.legend()
    return drawn
