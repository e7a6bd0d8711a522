"""The contract of a problem: outputs f(w), Jacobian J, second derivatives, and compiled kernels [theory: Setting]."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from ..core.errors import InputError

Array = NDArray[np.float64]

_MATRIX = types.Array(types.float64, 2, "C")
#: Kernel `outputs(data, w, f, scratch)`: writes f(w) for every lane. `pullback(data, w, r, g, scratch)`:
#: writes J(w)^T r. Arrays are (rows, lanes): one run a lane, so that the lanes fill the SIMD units.
KERNEL = types.void(_MATRIX, _MATRIX, _MATRIX, _MATRIX)
PULLBACK = types.void(_MATRIX, _MATRIX, _MATRIX, _MATRIX, _MATRIX)


#: What can be measured along a run, and the method of `Problem` that does it.
METRICS = {
    "train_loss": "loss",
    "test_error": "test_error",
    "trace_hessian": "trace_hessian",
    "distance": "distance",
}


class Problem(ABC):
    """Outputs f: R^N -> R^P on the training set, targets y in R^P, loss |f(w) - y|^2 / (2P) [theory: Setting].

    A member supplies `outputs`, `jacobian` and `contract_hessians` (batched over leading axes), the compiled
    pair `kernels` for the simulator, and may add a test error. Everything else follows.
    """

    name: str
    n_parameters: int
    targets: Array

    @property
    def n_outputs(self) -> int:
        """P = samples x output dimensions."""
        return len(self.targets)

    @abstractmethod
    def outputs(self, w: Array) -> Array:
        """f(w): (..., N) -> (..., P)."""

    @abstractmethod
    def jacobian(self, w: Array) -> Array:
        """J = df/dw: (..., N) -> (..., P, N)."""

    @abstractmethod
    def contract_hessians(self, w: Array, c: Array) -> Array:
        """Gradient of <c, J(w)> at fixed c (..., P, N): sum_i hess f_i c_i, shape (..., N)."""

    @property
    @abstractmethod
    def kernels(self) -> tuple[Any, Any, Array, int]:
        """(outputs, pullback, data, scratch rows): Numba functions of signature KERNEL and PULLBACK."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What rebuilds this problem: plain numbers and strings."""

    def test_error(self, w: Array) -> Array:
        """Generalisation error, (..., N) -> (...); NaN where the problem has none."""
        return np.full(w.shape[:-1], np.nan)

    # -- what follows from the above ---------------------------------------------------------------

    def residual(self, w: Array) -> Array:
        """f(w) - y: (..., P)."""
        return self.outputs(w) - self.targets

    def loss(self, w: Array) -> Array:
        """|f(w) - y|^2 / (2P): (...)."""
        return np.square(self.residual(w)).mean(axis=-1) / 2

    def trace_hessian(self, w: Array) -> Array:
        """tr H = |J|^2 / P: (...). It equals the trace of the loss's Hessian on Gamma [theory: Setting]."""
        return np.square(self.jacobian(w)).sum(axis=(-2, -1)) / self.n_outputs

    def trace_hessian_gradient(self, w: Array) -> Array:
        """Ambient gradient of tr H, (2/P) sum_i hess f_i J_i: (..., N)."""
        return self.contract_hessians(w, self.jacobian(w)) * (2 / self.n_outputs)

    def metric(self, name: str, w: Array) -> Array:
        """One of METRICS at w: (..., N) -> (...)."""
        return np.asarray(getattr(self, METRICS[name])(w))

    def hessians(self, w: Array) -> Array:
        """hess f_i for every output: (N,) -> (P, N, N)."""
        n, p = self.n_parameters, self.n_outputs
        out = np.empty((p, n, n))
        c = np.zeros((n, p, n))
        for i in range(p):
            c[:, i, :] = np.eye(n)
            out[i] = self.contract_hessians(np.broadcast_to(w, (n, n)), c)
            c[:, i, :] = 0
        return out

    def distance(self, w: Array) -> Array:
        """First-order distance to Gamma, |J^+ (f - y)|: (...).

        J J^T is damped by 1e-9 of its trace: where J loses rank the distance is that of the directions it keeps.
        """
        j = self.jacobian(w)
        k = j @ np.swapaxes(j, -1, -2)
        p = self.n_outputs
        damping = 1e-9 * np.trace(k, axis1=-2, axis2=-1)[..., None, None] + np.finfo(float).tiny
        r = self.residual(w)[..., None]
        step = np.swapaxes(j, -1, -2) @ np.linalg.solve(k + damping * np.eye(p), r)
        return np.sqrt(np.square(step[..., 0]).sum(axis=-1))

    def spectral_gradient(self, w: Array, derivative: Callable[[Array], Array]) -> Array:
        """Ambient gradient of sum_j h(lambda_j), lambda_j the eigenvalues of J J^T / P: (..., N) -> (..., N).

        `derivative` maps the eigenvalues (..., P), increasing, to h'(lambda_j). With h' = 1: grad tr H.
        """
        j = self.jacobian(w)
        eigenvalues, basis = np.linalg.eigh(j @ np.swapaxes(j, -1, -2) / self.n_outputs)
        weights = derivative(np.maximum(eigenvalues, 0))[..., None, :]
        weighted = (basis * weights) @ (np.swapaxes(basis, -1, -2) @ j)
        return self.contract_hessians(w, weighted * (2 / self.n_outputs))

    def check_point(self, w: object, argument: str = "start") -> Array:
        """A finite parameter vector of the right length, or an InputError."""
        try:
            point = np.asarray(w, dtype=np.float64)
        except (TypeError, ValueError):
            raise InputError(argument, w, f"{self.n_parameters} finite numbers") from None
        if point.shape != (self.n_parameters,):
            raise InputError(argument, f"shape {point.shape}", f"shape ({self.n_parameters},)")
        if not np.all(np.isfinite(point)):
            raise InputError(argument, "NaN or infinite entries", "finite numbers")
        return point
