"""The 1 - beta that damps the motion along Gamma under given forces [theory: Forces, eq. 6.2]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from ..core.errors import InputError
from ..geometry.manifold_point import ManifoldPoint
from ..theory import formulas
from .forces import Force

Floats = NDArray[np.float64]
_SMALLEST = 1e-10
"""The least 1 - beta that is sought; forces that need less count as not restoring."""


@dataclass(frozen=True, eq=False)
class DampedForces:
    """The root delta of delta^2 = 4 zeta^2 k(delta), k the sum of the forces' stiffnesses, for `MomentumRule`.

    k / delta^2 falls with delta for restoring forces, so that there is one root [theory: Forces].

    Attributes:
        point, displacement: point of Gamma and direction (N,) in which the forces are linearised
        forces: at least one
        damping_ratio: zeta > 0
        nesterov: Nesterov momentum in place of heavy ball
        dampening: the learning rate is lr (1 - dampening), or lr (1 - beta) for "momentum", the average of past gradients
    """

    point: ManifoldPoint
    displacement: Floats
    forces: Sequence[Force]
    damping_ratio: float
    nesterov: bool = False
    dampening: float | str = 0.0

    def one_minus_beta(self, lr: Floats) -> Floats:
        """The root; where it would be above 1, a number above 1: 2 zeta sqrt(k(1))."""
        return np.array([self._root(float(rate)) for rate in np.ravel(lr)]).reshape(np.shape(lr))

    def lr(self, one_minus_beta: Floats) -> Floats:
        """The learning rate whose root this 1 - beta is; inf if there is none below the stability limit."""
        flat = [self._lr(float(delta)) for delta in np.ravel(one_minus_beta)]
        return np.array(flat).reshape(np.shape(one_minus_beta))

    def excess(self, lr: float, one_minus_beta: float) -> float:
        """4 zeta^2 k / delta^2: 1 at the root, falling with delta."""
        rate = lr * self._gain(one_minus_beta)
        self._check_stable(lr, rate, one_minus_beta)

        def field(w: Floats) -> Floats:
            pulls = (force.pull(self.point.problem, rate, one_minus_beta, self.nesterov)(w) for force in self.forces)
            return sum(pulls, np.zeros_like(w))

        k = self.point.stiffness(field, self.displacement)
        return 4 * self.damping_ratio**2 * k / one_minus_beta**2

    def _gain(self, one_minus_beta: float) -> float:
        return one_minus_beta if isinstance(self.dampening, str) else 1 - self.dampening

    def _largest(self, one_minus_beta: float) -> float:
        """The stability limit of lr (1 - dampening) [theory: Relaxation, eq. 2.5; Relaxation, eq. 2.6]."""
        limit = formulas.nesterov_stability_limit if self.nesterov else formulas.heavy_ball_stability_limit
        return float(limit(one_minus_beta)) / float(self.point.eigenvalues[0])

    def _check_stable(self, lr: float, rate: float, one_minus_beta: float) -> None:
        if rate >= (largest := self._largest(one_minus_beta)):
            largest /= self._gain(one_minus_beta)
            raise InputError("lr", f"{lr:.6g}", f"below {largest:.4g}, the stability limit at 1 - beta = {one_minus_beta:.4g}")

    def _root(self, lr: float) -> float:
        top = self.excess(lr, 1.0)
        if top >= 1:
            return float(np.sqrt(top))
        low = 0.1
        while self.excess(lr, low) < 1:
            low /= 10
            if low < _SMALLEST:
                raise InputError(
                    "forces",
                    "no restoring force along the displacement",
                    "forces that pull back at this lr, such as LabelNoise(c) with c > 0",
                )
        return float(np.exp(brentq(lambda x: np.log(max(self.excess(lr, np.exp(x)), 1e-300)), np.log(low), 0, xtol=1e-13)))

    def _lr(self, one_minus_beta: float) -> float:
        high = 0.999999 * self._largest(one_minus_beta) / self._gain(one_minus_beta)
        if self.excess(high, one_minus_beta) < 1:
            return np.inf
        low = high
        while self.excess(low, one_minus_beta) >= 1:
            low /= 10
        found = brentq(lambda x: self.excess(np.exp(x), one_minus_beta) - 1, np.log(low), np.log(high), xtol=1e-13)
        return float(np.exp(found))
