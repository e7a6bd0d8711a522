"""The problems P1, P2 and P3 that every engine solves, and the moments that it must reproduce for its time to count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

LIMIT = 5.0
"""Largest admissible deviation in standard errors. Some 200 correlated Gaussian comparisons: a false alarm below 1.2e-4."""


class Moments(NamedTuple):
    """Mean and variance over paths at the record times, each (n_times,)."""

    mean: Floats
    variance: Floats


class Reference(NamedTuple):
    """What the moments should be, with the standard errors of one path: divide by sqrt(n_paths)."""

    mean: Floats
    variance: Floats
    mean_error: Floats
    variance_error: Floats
    n_paths: float
    """Paths behind the reference itself; inf if it is exact."""

    def deviation(self, moments: Moments, n_paths: int) -> float:
        """Largest difference in standard errors (inf if anything is not finite)."""
        n = len(moments.mean)
        scale = np.sqrt(1 / n_paths + 1 / self.n_paths)
        z_mean = (moments.mean - self.mean[:n]) / (scale * self.mean_error[:n])
        z_variance = (moments.variance - self.variance[:n]) / (scale * self.variance_error[:n])
        worst = np.max(np.abs([z_mean, z_variance]))
        return float(worst) if np.isfinite(worst) else np.inf


def reference_of(samples: Floats) -> Reference:
    """From samples (n_paths, n_times) of a trusted engine; the error of a variance from the fourth moment."""
    mean, variance = samples.mean(0), samples.var(0)
    fourth = ((samples - mean) ** 4).mean(0)
    return Reference(mean, variance, np.sqrt(variance), np.sqrt(fourth - variance**2), len(samples))


@dataclass(frozen=True)
class Work:
    """Number of paths, of steps, and of equidistant times of record; the last one is the end."""

    n_paths: int
    n_steps: int
    n_times: int

    @property
    def stride(self) -> int:
        """Steps from one record to the next; the first record is after `stride` steps."""
        return self.n_steps // self.n_times


@dataclass(frozen=True)
class OrnsteinUhlenbeck(Work):
    """P1: dx = -rate x dt + noise dW by Euler-Maruyama; mean and variance of x at n_times equidistant times."""

    n_paths: int = 100_000
    n_steps: int = 1_000
    n_times: int = 100
    rate: float = 1.0
    noise: float = 0.5
    start: float = 1.0
    dt: float = 1 / 256  # a power of two: adding it up is exact, and no engine takes a last sliver of a step
    components: int = 1

    @property
    def decay(self) -> float:
        """x_{k+1} = decay x_k + kick n_k, n_k ~ N(0, 1) or +-1."""
        return 1 - self.rate * self.dt

    @property
    def kick(self) -> float:
        return self.noise * self.dt**0.5

    def reference(self) -> Reference:
        """The exact moments of the Euler chain itself (not of the SDE): no error of discretisation enters the check.

        With two-point increments mean and variance are the same, and the kurtosis is smaller: the error bound holds.
        """
        k = self.stride * np.arange(1, self.n_times + 1)
        mean = self.start * self.decay**k
        variance = self.kick**2 * (1 - self.decay ** (2 * k)) / (1 - self.decay**2)
        return Reference(mean, variance, np.sqrt(variance), np.sqrt(2) * variance, np.inf)


@dataclass(frozen=True)
class CriticalValley(Work):
    """P2: the SDE of the critical limit [theory: Critical limit, eq. 7.3] in a valley, in its energy form with full truncation.

    One flat direction theta, `n_modes` normal modes with lambda_j(theta) = b_j + s_j theta + h_j theta^2 / 2 and
    l_j = lambda_j' / lambda_j. With e+ = max(e, 0) (full truncation: Lord, Koekkoek, van Dijk 2010, Quant. Finance 10)

        theta' = theta + p dt
        p'     = p - (p + kappa sum_j l_j e+_j) dt
        e'_j   = e_j + (lambda_j - e+_j + l_j p e+_j / 2) dt + sqrt(2 lambda_j e+_j dt) n_j

    all right-hand sides at the old state; start at rest at theta = 1 with equilibrated energies e_j = lambda_j.
    """

    n_paths: int = 10_000
    n_steps: int = 1_000
    n_times: int = 100
    n_modes: int = 14
    kappa: float = 0.5
    start: float = 1.0
    dt: float = 1 / 128

    @property
    def components(self) -> int:
        return 2 + self.n_modes

    @property
    def base(self) -> Floats:
        """b (n_modes,)."""
        return np.linspace(0.5, 2.0, self.n_modes)

    @property
    def slope(self) -> Floats:
        """s (n_modes,), of sum 0: theta = 0 is the flattest point. s^2 < 2 b h: lambda_j > 0 everywhere."""
        return 0.1 * (-1.0) ** np.arange(self.n_modes)

    @property
    def bend(self) -> Floats:
        """h (n_modes,), of sum m = 1."""
        return np.full(self.n_modes, 1 / self.n_modes)

    @property
    def start_energies(self) -> Floats:
        return self.base + self.slope * self.start + 0.5 * self.bend * self.start**2


@dataclass(frozen=True)
class LabelNoise(Work):
    """P3: w, v of heavy ball with Rademacher label noise on matrix sensing; the test error of every seed at n_times.

    The update is [theory: Setting]: v <- momentum v - lr g, w <- w + v, with g = J^T (f(w) - y - sigma xi) / P.
    """

    n_paths: int = 64
    n_steps: int = 20_000
    n_times: int = 10
    d: int = 16
    n_measurements: int = 100
    lr: float = 0.005
    momentum: float = 0.9
    label_noise: float = 0.1
    components: int = 1

    def arrays(self) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """Measurements (P, d * d), targets (P,), start U and V (d, d), solution (d, d)."""
        import sde_momentum as sm

        problem = sm.MatrixSensing(self.d, 1, self.n_measurements)
        u, v = problem.factors(problem.random_start(0.1))
        a = np.ascontiguousarray(problem.measurements.reshape(self.n_measurements, -1))
        return a, problem.targets, u.copy(), v.copy(), problem.solution


Problem = OrnsteinUhlenbeck | CriticalValley | LabelNoise
