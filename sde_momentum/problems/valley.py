"""The valley: a model problem with one direction theta along Gamma, and normal modes x_j of eigenvalues lambda_j(theta)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..core.arguments import by_annotations
from ..core.compile import njit
from ..core.errors import InputError, check, check_integer, check_positive, check_size
from .compiled import CONTRACTION, JACOBIAN, KERNEL, METRIC, PULLBACK, Kernels
from .metrics import METRICS
from .problem import Array, Problem

# FMA contraction is allowed, reassociation is not: a lane's numbers must not depend on its neighbours.
# A test for division by zero would keep the loops out of the SIMD units.
_COMPILE: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}


@njit(cache=True, nogil=True, inline="always")
def eigenvalue(base: float, b: float, q: float, theta: float, phi: float) -> float:
    """lambda_j = l_j + b_j phi + q_j theta^2 / 2, with base = l_j and q_j = m / P: see `Valley`."""
    return base + b * phi + 0.5 * q * theta * theta


@njit(cache=True, nogil=True, inline="always")
def slope(b: float, q: float, theta: float, phi_slope: float) -> float:
    """lambda_j' = b_j phi' + q_j theta, with phi_slope = phi'(theta)."""
    return b * phi_slope + q * theta


@njit(KERNEL, **_COMPILE)
def _outputs(data: Any, w: Any, f: Any, scratch: Any) -> None:
    modes, lanes = f.shape
    for n in range(lanes):
        scratch[0, n] = w[0, n] / np.sqrt(1.0 + data[3, 0] * w[0, n] * w[0, n])
    for j in range(modes):
        base, b, q = data[0, j], data[1, j], data[2, j]
        for n in range(lanes):
            f[j, n] = np.sqrt(modes * eigenvalue(base, b, q, w[0, n], scratch[0, n])) * w[j + 1, n]


@njit(PULLBACK, **_COMPILE)
def _pullback(data: Any, w: Any, residual: Any, g: Any, scratch: Any) -> None:
    modes, lanes = residual.shape
    for n in range(lanes):
        unit = 1.0 / np.sqrt(1.0 + data[3, 0] * w[0, n] * w[0, n])
        scratch[0, n] = w[0, n] * unit
        scratch[1, n] = unit * unit * unit
        g[0, n] = 0.0
    for j in range(modes):
        base, b, q = data[0, j], data[1, j], data[2, j]
        for n in range(lanes):
            root = np.sqrt(modes * eigenvalue(base, b, q, w[0, n], scratch[0, n]))
            g[j + 1, n] = root * residual[j, n]
            g[0, n] += 0.5 * modes * slope(b, q, w[0, n], scratch[1, n]) / root * w[j + 1, n] * residual[j, n]


@njit(JACOBIAN, **_COMPILE)
def _jacobian(data: Any, w: Any, jacobian: Any, scratch: Any) -> None:
    modes, rows, lanes = jacobian.shape
    for n in range(lanes):
        unit = 1.0 / np.sqrt(1.0 + data[3, 0] * w[0, n] * w[0, n])
        scratch[0, n] = w[0, n] * unit
        scratch[1, n] = unit * unit * unit
    for j in range(modes):
        base, b, q = data[0, j], data[1, j], data[2, j]
        for i in range(1, rows):
            for n in range(lanes):
                jacobian[j, i, n] = 0.0
        for n in range(lanes):
            root = np.sqrt(modes * eigenvalue(base, b, q, w[0, n], scratch[0, n]))
            jacobian[j, j + 1, n] = root
            jacobian[j, 0, n] = 0.5 * modes * slope(b, q, w[0, n], scratch[1, n]) / root * w[j + 1, n]


@njit(CONTRACTION, **_COMPILE)
def _contract_hessians(data: Any, w: Any, c: Any, g: Any, scratch: Any) -> None:
    """By the second derivatives of f_j = r_j(theta) x_j, r_j = sqrt(P lambda_j): r_j'' x_j and r_j'."""
    modes, _, lanes = c.shape
    for n in range(lanes):
        unit = 1.0 / np.sqrt(1.0 + data[3, 0] * w[0, n] * w[0, n])
        scratch[0, n] = w[0, n] * unit
        scratch[1, n] = unit * unit * unit
        g[0, n] = 0.0
    for j in range(modes):
        base, b, q = data[0, j], data[1, j], data[2, j]
        for n in range(lanes):
            phi, phi_slope = scratch[0, n], scratch[1, n]
            steep = 1.0 + data[3, 0] * w[0, n] * w[0, n]
            bend = q - 3.0 * b * data[3, 0] * phi / (steep * steep)  # lambda_j''
            root = np.sqrt(modes * eigenvalue(base, b, q, w[0, n], phi))
            first = 0.5 * modes * slope(b, q, w[0, n], phi_slope) / root
            second = (0.5 * modes * bend - first * first) / root
            g[j + 1, n] = first * c[j, 0, n]
            g[0, n] += second * w[j + 1, n] * c[j, 0, n] + first * c[j, j + 1, n]


@njit(METRIC, **_COMPILE)
def _trace_hessian(data: Any, w: Any, out: Any, scratch: Any) -> None:
    """|J|^2 / P = sum_j lambda_j + (lambda_j' x_j)^2 / (4 lambda_j)."""
    lanes = out.shape[0]
    for n in range(lanes):
        unit = 1.0 / np.sqrt(1.0 + data[3, 0] * w[0, n] * w[0, n])
        scratch[0, n] = w[0, n] * unit
        scratch[1, n] = unit * unit * unit
        out[n] = 0.0
    for j in range(data.shape[1]):
        base, b, q = data[0, j], data[1, j], data[2, j]
        for n in range(lanes):
            value = eigenvalue(base, b, q, w[0, n], scratch[0, n])
            change = slope(b, q, w[0, n], scratch[1, n]) * w[j + 1, n]
            out[n] += value + 0.25 * change * change / value


@njit(METRIC, **_COMPILE)
def _test_error(data: Any, w: Any, out: Any, scratch: Any) -> None:
    """theta^2."""
    for n in range(out.shape[0]):
        out[n] = w[0, n] * w[0, n]


@by_annotations
class Valley(Problem):
    """f_j = sqrt(P lambda_j(theta)) x_j, j = 1..P, targets 0: Gamma is the axis x = 0, and J J^T / P = diag(lambda) there.

        lambda_j(theta) = l_j + b_j phi(theta) + (m / P) theta^2 / 2,   phi = theta / sqrt(1 + (theta / reach)^2)

    The slopes b_j sum to 0, so that tr H = sum l_j + m theta^2 / 2 is least at theta = 0, where m = (tr H)''. The coupling
    g = sum b_j^2 / l_j enters the mean of theta, and G2 = sum b_j^2 its fluctuations [theory: Price of speed, eq. 9.1]. The
    eigenvectors are constant, so that equal l_j are allowed.

    Args:
        eigenvalues: l_j = lambda_j(0) > 0, (P,)
        slopes: b_j = lambda_j'(0), summing to 0, (P,), or 0.0 for none
        curvature: m > 0
        reach: where the slopes level off, in units of theta, > 0 or inf; every lambda_j must stay positive:
            reach |b_j| < l_j or P b_j^2 < 2 m l_j. The second allows g < 2 m only, the first any g.

    w = (theta, x_1, ..., x_P); the test error is theta^2.

    Raises:
        InputError: for values out of range, or eigenvalues that would not stay positive.

    >>> valley = Valley([1.0, 2.0], [0.1, -0.1], curvature=0.5)
    >>> valley.n_parameters, round(valley.coupling, 4), round(valley.squared_slopes, 4)
    (3, 0.015, 0.02)
    """

    name = "valley"
    own_metrics = (replace(METRICS["test_error"], label="squared distance theta^2 from the flattest point", unit="theta^2"),)

    def __init__(self, eigenvalues: ArrayLike, slopes: ArrayLike, curvature: float, *, reach: float = np.inf) -> None:
        self.eigenvalues = np.atleast_1d(check_positive(eigenvalues, "eigenvalues"))
        if self.eigenvalues.ndim != 1:
            raise InputError("eigenvalues", f"shape {self.eigenvalues.shape}", "shape (P,)")
        p = len(self.eigenvalues)
        given = check("slopes", slopes, lambda b: np.isfinite(b), "finite numbers")
        if given.shape not in ((), (p,)):
            raise InputError("slopes", f"shape {given.shape}", f"shape ({p},), or one number")
        self.slopes = np.broadcast_to(given, (p,)).copy()
        if abs(self.slopes.sum()) > 1e-12 * np.abs(self.slopes).sum():
            raise InputError("slopes", f"a sum of {self.slopes.sum():.3g}", "slopes that sum to 0")
        self.curvature = float(check_positive(check_size(curvature, "curvature"), "curvature"))
        self.reach = float(reach) if reach == np.inf else float(check("reach", reach, lambda x: x > 1e-100, "a number > 1e-100"))
        size = np.abs(self.slopes)
        with np.errstate(invalid="ignore"):  # inf * 0: no slope, no limit
            positive = (self.reach * size < self.eigenvalues) | (p * size**2 < 2 * self.curvature * self.eigenvalues)
        if not np.all(positive):
            raise InputError("slopes", self.slopes[~positive][0], "reach |b| < l or P b^2 < 2 m l: eigenvalues stay positive")
        self.targets = np.zeros(p)
        self.n_parameters = p + 1
        self.data = np.stack([self.eigenvalues, self.slopes, np.full(p, self.curvature / p), np.full(p, self.reach**-2)])
        """Rows l_j, b_j, m / P and 1 / reach^2, read by the compiled kernels, (4, P)."""

    @classmethod
    @by_annotations
    def balanced(cls, n_modes: int, curvature: float, coupling: float, *, lowest: float = 1.0, highest: float = 2.0) -> Valley:
        """Pairs of modes with opposite slopes, so that g = `coupling`, each mode with an equal share of it.

        The l_j of the pairs are evenly spaced from `lowest` to `highest`. Slopes level off at half the distance at which
        the first lambda_j would vanish.

        >>> round(Valley.balanced(8, curvature=1.0, coupling=3.0).coupling, 12)
        3.0
        """
        pairs = check_integer(n_modes, "n_modes", 2, 10**7) // 2
        if n_modes % 2:
            raise InputError("n_modes", n_modes, "an even number")
        low, high = float(check_positive(lowest, "lowest")), float(check_positive(highest, "highest"))
        eigenvalues = np.repeat(np.linspace(low, high, pairs), 2)
        check("coupling", coupling, lambda g: (g >= 0) & (g <= 1e100), "a number from 0 to 1e100")
        slopes = np.sqrt(coupling * eigenvalues / n_modes)
        slopes[1::2] *= -1
        reach = np.inf if coupling == 0 else 0.5 * float((eigenvalues / np.abs(slopes)).min())
        return cls(eigenvalues, slopes, curvature, reach=reach)

    @property
    def coupling(self) -> float:
        """g = sum_j b_j^2 / l_j, in units of the curvature [theory: Price of speed, eq. 9.1]."""
        return float((self.slopes**2 / self.eigenvalues).sum())

    @property
    def squared_slopes(self) -> float:
        """G2 = sum_j b_j^2 [theory: Price of speed, eq. 9.1]."""
        return float((self.slopes**2).sum())

    @by_annotations
    def mean_trace_hessian(self, mean_square: ArrayLike) -> Array:
        """Mean of tr H on Gamma, sum_j l_j + m <theta^2> / 2, from the mean of theta^2, of the same shape."""
        return np.asarray(self.eigenvalues.sum() + self.curvature / 2 * np.asarray(mean_square, dtype=np.float64))

    @by_annotations
    def start(self, theta: float) -> Array:
        """The point of Gamma at theta, (P + 1,)."""
        w = np.zeros(self.n_parameters)
        w[0] = check("theta", theta, lambda x: np.abs(x) <= 1e100, "a number from -1e100 to 1e100")
        return w

    def settings(self) -> dict[str, Any]:
        return {
            "problem": self.name,
            "eigenvalues": self.eigenvalues.tolist(),
            "slopes": self.slopes.tolist(),
            "curvature": self.curvature,
            "reach": self.reach,
        }

    @property
    def kernels(self) -> Kernels:
        metrics = {Problem.trace_hessian: _trace_hessian, Valley.test_error: _test_error}
        return Kernels(_outputs, _pullback, self.data, 2, metrics, jacobian=_jacobian, contract_hessians=_contract_hessians)

    def _roots(self, theta: Array) -> tuple[Array, Array, Array]:
        """sqrt(P lambda_j) and its first two derivatives: (...) -> (..., P)."""
        t = theta[..., None]
        base, b, q, steepness = self.data  # the last: 1 / reach^2
        unit = 1 / np.sqrt(1 + steepness * t**2)
        value = base + b * t * unit + q * t**2 / 2
        first = b * unit**3 + q * t
        second = -3 * b * steepness * t * unit**5 + q
        root = np.sqrt(self.n_outputs * value)
        d_root = root * first / (2 * value)
        return root, d_root, root * second / (2 * value) - d_root**2 / root

    def outputs(self, w: Array) -> Array:
        return self._roots(w[..., 0])[0] * w[..., 1:]

    def jacobian(self, w: Array) -> Array:
        root, d_root, _ = self._roots(w[..., 0])
        return np.concatenate([(d_root * w[..., 1:])[..., None], root[..., None] * np.eye(self.n_outputs)], axis=-1)

    def contract_hessians(self, w: Array, c: Array) -> Array:
        _, d_root, dd_root = self._roots(w[..., 0])
        by_theta, by_x = c[..., 0], np.diagonal(c[..., 1:], axis1=-2, axis2=-1)
        along = (by_theta * dd_root * w[..., 1:] + by_x * d_root).sum(axis=-1)
        return np.concatenate([along[..., None], by_theta * d_root], axis=-1)

    def test_error(self, w: Array) -> Array:
        """theta^2: the squared distance to the flattest point along Gamma, in squared parameter units."""
        return np.square(w[..., 0])
