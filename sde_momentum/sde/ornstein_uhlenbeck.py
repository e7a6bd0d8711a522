"""The Ornstein-Uhlenbeck process: dX = -A (X - m) dt + B dW, linear, with additive noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.arguments import by_annotations
from ..core.errors import InputError, numbers
from .equation import SDE

_WRITTEN_OUT = 10
"""Components up to which the matrices are written out in the kernel; of more, compiling takes long and products are as fast."""


@by_annotations
class OrnsteinUhlenbeck(SDE):
    """The Ornstein-Uhlenbeck process dX = -A (X - m) dt + B dW. Its default method "exact" has no time-step error.

    `rate` A: a number, or (d, d); `noise` B: a number, (d,) for independent noises, or (d, k); `mean` m: a number or
    (d,); d is the largest of their dimensions. From 11 components on it is `batched`: steps are products of matrices, and
    functionals and events take arrays (see `SDE`). A in units of 1 / t. Raises InputError for shapes that do not match or values
    that are not finite.

    >>> process = OrnsteinUhlenbeck(rate=2.0, noise=0.5)
    >>> process.dim, process.stationary_covariance().item()
    (1, 0.0625)
    """

    rate_matrix: NDArray[np.float64]
    noise_matrix: NDArray[np.float64]
    mean_vector: NDArray[np.float64]

    def __init__(self, rate: ArrayLike, noise: ArrayLike, mean: ArrayLike = 0.0) -> None:
        given = {"rate": _finite("rate", rate), "noise": _finite("noise", noise), "mean": _finite("mean", mean)}
        d = max([1, *(a.shape[0] for a in given.values() if a.ndim)])
        rate_matrix = given["rate"] * np.eye(d) if given["rate"].ndim == 0 else given["rate"]
        noise_matrix = given["noise"] if given["noise"].ndim == 2 else np.diag(np.broadcast_to(given["noise"], (d,)))
        mean_vector = np.broadcast_to(given["mean"], (d,)) if given["mean"].shape in ((), (d,)) else given["mean"]
        for name, value, shape in (("rate", rate_matrix, (d, d)), ("mean", mean_vector, (d,))):
            if value.shape != shape:
                raise InputError(name, f"shape {value.shape}", f"a number or shape {shape}")
        if noise_matrix.shape[0] != d:
            raise InputError("noise", f"shape {noise_matrix.shape}", f"a number, shape ({d},) or ({d}, k)")
        batched = d > _WRITTEN_OUT
        drift = _product(rate_matrix, mean_vector) if batched else _linear(rate_matrix, mean_vector)
        diffusion = (lambda x, t, p: noise_matrix) if batched else _constant(noise_matrix)
        how = dict(noise="general", n_noise=noise_matrix.shape[1], additive=True, batched=batched)
        super().__init__(drift, diffusion, d, **how)
        for name, value in (("rate_matrix", rate_matrix), ("noise_matrix", noise_matrix), ("mean_vector", mean_vector.copy())):
            object.__setattr__(self, name, value)

    def stationary_covariance(self) -> NDArray[np.float64]:
        """S with A S + S A^T = B B^T, (d, d); meaningful if every eigenvalue of A has a positive real part."""
        from scipy.linalg import solve_continuous_lyapunov

        return np.asarray(solve_continuous_lyapunov(self.rate_matrix, self.noise_matrix @ self.noise_matrix.T))


def _finite(name: str, value: ArrayLike) -> NDArray[np.float64]:
    array = numbers(name, value, "finite numbers")
    if array.ndim > 2 or not array.size or not np.all(np.isfinite(array)):
        raise InputError(name, value if array.ndim == 0 else f"shape {array.shape}", "finite numbers, at most a matrix")
    return array


def _function(body: str) -> Any:
    names: dict[str, Any] = {}
    exec(f"def coefficient(x, t, p):\n    return {body}\n", names)
    return names["coefficient"]


def _product(rate: NDArray[np.float64], mean: NDArray[np.float64]) -> Any:
    """The drift -A (x - m) of a batch (d, n)."""
    return lambda x, t, p: rate @ (mean[:, None] - x)


def _linear(rate: NDArray[np.float64], mean: NDArray[np.float64]) -> Any:
    """The drift -A (x - m), as a function whose text has only the nonzero entries of A."""
    d = len(mean)
    offset = rate @ mean
    rows = []
    for i in range(d):
        terms = [f"{float(-rate[i, j])!r} * {'x' if d == 1 else f'x[{j}]'}" for j in range(d) if rate[i, j] != 0.0]
        rows.append(" + ".join([*terms, *([repr(float(offset[i]))] if offset[i] != 0.0 or not terms else [])]))
    return _function(rows[0] if d == 1 else f"({', '.join(rows)})")


def _constant(noise: NDArray[np.float64]) -> Any:
    rows = ["(" + ", ".join(repr(float(b)) for b in row) + ",)" for row in noise]
    return _function(rows[0] if len(rows) == 1 else f"({', '.join(rows)})")
