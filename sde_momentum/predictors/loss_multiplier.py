"""Mean loss under mini-batches without label noise: the linear recursion of the modes' second moments
[theory: Interpolation, eq. 13.3]."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.arguments import by_annotations
from ..core.errors import InputError, check_integer, check_lr, check_momentum, check_one, check_positive
from ..theory import formulas

Floats = NDArray[np.float64]


def check_least_squares(eigenvalues: ArrayLike, n_outputs: int, batch_size: int) -> tuple[Floats, int, int]:
    """The eigenvalues (n,), P and B of a fit by batches drawn without replacement, or an InputError."""
    values = check_positive(eigenvalues, "eigenvalues")
    if values.ndim != 1 or not values.size:
        raise InputError("eigenvalues", f"shape {values.shape}", "shape (n,), n >= 1")
    p, size = check_integer(n_outputs, "n_outputs", 2, 10**15), check_integer(batch_size, "batch_size", 1)
    if size > p:
        raise InputError("batch_size", size, f"a whole number from 1 to n_outputs = {p}")
    return values, p, size


@by_annotations
def second_moment_matrix(eigenvalues: ArrayLike, lr: float, momentum: float, n_outputs: int, batch_size: int) -> Floats:
    """The matrix that takes a step of the modes' second moments E x_k^2, E x_k x_{k-1}, E x_{k-1}^2: (3 n, 3 n), in blocks of n.

        E x_j^2 <- heavy ball + phi a_j (sum_i a_i E x_i^2 - a_j E x_j^2),   phi = (P - B) / (B (P - 1))

    Least squares that can be fitted, batches drawn without replacement, rows of J spread over many eigenvectors, with parts of
    one size in each: normal parts would add 2 phi a_j^2 E x_j^2 [theory: Interpolation, eq. 13.2].

    Args:
        eigenvalues: lambda_j > 0 of H in the normal space, (n,), in loss / parameter^2
        lr: eta > 0
        momentum: beta in [0, 1), heavy ball
        n_outputs: P, from 2 to 10^15
        batch_size: B, from 1 to P

    Raises:
        InputError: for a value out of range.

    >>> step = second_moment_matrix([1.0], lr=0.1, momentum=0.0, n_outputs=4, batch_size=4)  # no noise: (1 - a)^2
    >>> round(float(step[0, 0]), 6)
    0.81
    """
    values, p, size = check_least_squares(eigenvalues, n_outputs, batch_size)
    rate, beta = check_one(check_lr, lr, "lr"), check_one(check_momentum, momentum, "momentum")
    a, n = rate * values, len(values)
    trace, one = 1 + beta - a, np.eye(n)
    noise = float(formulas.minibatch_noise(1.0, p, size)) * (np.outer(a, a) - np.diag(a**2))
    zero = np.zeros((n, n))
    return np.block(
        [
            [np.diag(trace**2) + noise, np.diag(-2 * beta * trace), beta**2 * one],
            [np.diag(trace), -beta * one, zero],
            [one, zero, zero],
        ]
    )


@by_annotations
def loss_multiplier(eigenvalues: ArrayLike, lr: float, momentum: float, n_outputs: int, batch_size: int) -> float:
    """chi_2, by which the mean loss falls (below 1) or grows each step in the long run [theory: Interpolation, eq. 13.3].

    The spectral radius of `second_moment_matrix`, with its arguments and errors. `MomentumRule.for_interpolation` gives nearly
    the momentum of the smallest in closed form.

    >>> values = [0.01] * 50 + [1.0] * 50
    >>> small, large = (loss_multiplier(values, 0.01, 0.8, n_outputs=100, batch_size=size) for size in (1, 100))
    >>> round(small, 4), round(large, 4)
    (1.0149, 0.999)
    """
    matrix = second_moment_matrix(eigenvalues, lr, momentum, n_outputs, batch_size)
    return float(np.abs(np.linalg.eigvals(matrix)).max())
