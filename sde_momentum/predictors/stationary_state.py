"""The critical limit linearised at the flattest point: stability edge, stationary fluctuations, price of speed.

y is the position along Gamma, on the clock s = delta k, and p = dy/ds. e_j = lambda_j (1 + epsilon_j) is the energy of normal
mode j, whose eigenvalue is lambda_j. B has the columns B_j = grad lambda_j along Gamma, M is the Riemannian Hessian of tr H, and
kappa = eta^2 c / (4 delta^3) the strength of the force. To first order [theory: Price of speed, eq. 9.8]

    dy = p ds,   dp = -p ds - kappa (M y + B epsilon) ds,
    d epsilon_j = -epsilon_j ds - (1/2) (B_j / lambda_j) . p ds + sqrt(2) dW_j

In one direction the decay rates are roots of a cubic, and the stationary variance has a closed form
[theory: Price of speed, eq. 9.2; Price of speed, eq. 9.7]. Products of y and epsilon are left out: the error is of relative order
1 / (number of modes that carry the force).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_continuous_lyapunov
from scipy.optimize import brentq

from ..core.arguments import by_annotations
from ..core.errors import InputError, check_lr, check_one, check_positive
from ..geometry.manifold_point import ManifoldPoint
from ..theory import formulas
from .normal_excess import normal_excess

Floats = NDArray[np.float64]

_NEUTRAL = 1e-6
"""Directions of a curvature below this share of the largest are left out: tr H is constant along them."""
_LARGEST = 400
"""Largest dimension of Gamma; the cost of the Lyapunov equation grows as its cube."""
_HIGHEST = 1e6
"""Largest kappa, times the largest curvature, at which the stability edge is sought."""


@by_annotations
class StationaryState:
    """The stationary distribution of training around the flattest point, linearised [theory: Price of speed].

    Args:
        point: the flattest point; where J loses rank its vanishing modes count as tangent directions

    Raises:
        InputError: for a point that is no minimum of tr H along Gamma, or more than 400 directions.

    Source: [theory: Price of speed, eq. 9.8]; we know of no publication of it.

    >>> import sde_momentum as sm
    >>> valley = sm.Valley.balanced(8, curvature=1.0, coupling=3.0)
    >>> state = sm.predictors.StationaryState(sm.ManifoldPoint(valley, valley.start(0.0)))
    >>> round(state.edge_kappa, 6)  # 2 / (g - m)
    1.0
    >>> bool(abs(state.displacement(0.3) - formulas.valley_variance(0.3, 1.0, 3.0, valley.squared_slopes)) < 1e-6)
    True
    """

    def __init__(self, point: ManifoldPoint) -> None:
        self.point = point
        n = point.tangent.shape[1]
        if n > _LARGEST:
            raise InputError("point", f"{n} directions along Gamma", f"at most {_LARGEST}")
        values, vectors = np.linalg.eigh(point.hessian)
        felt = values > _NEUTRAL * max(values[-1], np.finfo(float).tiny)
        if values[-1] <= 0 or values[0] < -1e-3 * values[-1]:
            raise InputError("point", f"a curvature of tr H of {values[0]:.3g}", "a minimum of tr H along Gamma")
        self.curvatures: Floats = values[felt]
        """Eigenvalues of M, increasing, (n,), without directions along which tr H is constant, in units of curvature."""
        self.directions: Floats = point.tangent @ vectors[:, felt]
        """Unit eigenvectors of M, (N, n)."""
        self.slopes: Floats = self.directions.T @ point.ambient_eigenvalue_gradients.T
        """B: grad lambda_j along `directions`, (n, n_modes), in loss / parameter^3."""

    @cached_property
    def coupling(self) -> Floats:
        """The coupling g as a matrix, B diag(1 / lambda) B^T, (n, n) [theory: Price of speed, eq. 9.1]."""
        return np.asarray((self.slopes / self.point.eigenvalues) @ self.slopes.T)

    def _system(self, kappa: float) -> Floats:
        """The matrix of the linear equations of (y, p, epsilon)."""
        n, k = self.slopes.shape
        a = np.zeros((2 * n + k, 2 * n + k))
        a[:n, n : 2 * n] = np.eye(n)
        a[n : 2 * n, :n] = -kappa * np.diag(self.curvatures)
        a[n : 2 * n, n : 2 * n] = -np.eye(n)
        a[n : 2 * n, 2 * n :] = -kappa * self.slopes
        a[2 * n :, n : 2 * n] = -(self.slopes / self.point.eigenvalues).T / 2
        a[2 * n :, 2 * n :] = -np.eye(k)
        return a

    @by_annotations
    def decay_rate(self, kappa: float) -> float:
        """Slowest decay rate of a small displacement, per unit of s = delta k; negative beyond the stability edge."""
        return -float(np.linalg.eigvals(self._system(check_one(check_positive, kappa, "kappa"))).real.max())

    @cached_property
    def edge_kappa(self) -> float:
        """kappa of the stability edge, the least at which the mean leaves the flattest point, in 1 / curvature; inf: none."""
        low = 1e-3 / self.curvatures[-1]
        if self.decay_rate(low) <= 0:
            return 0.0
        high = low
        while self.decay_rate(high) > 0:
            low, high = high, 2 * high
            if high * self.curvatures[-1] > _HIGHEST:
                return float("inf")
        return float(brentq(self.decay_rate, low, high, xtol=1e-12 * high))

    @by_annotations
    def covariance(self, kappa: float) -> Floats:
        """Stationary covariance of the position along `directions`, (n, n), in parameter^2. Raises InputError beyond the edge."""
        strength = check_one(check_positive, kappa, "kappa")
        if strength >= self.edge_kappa:
            raise InputError("kappa", strength, f"below the stability edge, {self.edge_kappa:.4g}")
        n, k = self.slopes.shape
        noise = np.zeros(2 * n + k)
        noise[2 * n :] = 2.0
        return np.asarray(solve_continuous_lyapunov(self._system(strength), -np.diag(noise))[:n, :n])

    @by_annotations
    def displacement(self, kappa: float) -> float:
        """Stationary mean square displacement along `directions`, in parameter^2."""
        return float(np.trace(self.covariance(kappa)))

    @by_annotations
    def excess(self, kappa: float) -> float:
        """The price along Gamma: stationary mean of tr H above its least value, (1/2) tr(M Cov(y)), the first part of
        [theory: Price of speed, eq. 9.9]."""
        return float(self.curvatures @ np.diagonal(self.covariance(kappa)) / 2)

    @by_annotations
    def price(self, lr: float, one_minus_beta: float, noise: float) -> float:
        """The whole price at this lr and momentum, along and across Gamma [theory: Price of speed, eq. 9.9]."""
        rate = check_one(check_lr, lr, "lr")
        kappa = float(formulas.critical_kappa(rate, one_minus_beta, noise))
        return self.excess(kappa) + normal_excess(self.point, rate, one_minus_beta, noise)

    @by_annotations
    def kappa_for(self, share: float, of: float, what: str = "displacement") -> float:
        """The largest kappa at which `displacement` or `excess` (`what`) is at most share * of; inf where it always is."""
        goal = check_one(check_positive, share * of, "share * of")
        if what not in ("displacement", "excess"):
            raise InputError("what", what, '"displacement" or "excess"')

        def measure(kappa: float) -> float:
            # rounding may leave a tiny fluctuation negative: it is below every goal
            return max(float(getattr(self, what)(kappa)), np.finfo(float).tiny)

        if not self.slopes.any() or not np.abs(self.slopes).max() > 1e-12 * self.point.eigenvalues.max():
            return self.edge_kappa
        high = 0.999 * self.edge_kappa if np.isfinite(self.edge_kappa) else _HIGHEST / self.curvatures[-1]
        low = 1e-9 * high
        if measure(high) <= goal:
            return high
        if measure(low) >= goal:
            return low
        return float(np.exp(brentq(lambda x: np.log(measure(np.exp(x)) / goal), np.log(low), np.log(high), xtol=1e-6)))
