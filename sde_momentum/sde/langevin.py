"""The underdamped Langevin equation: a position with inertia, friction and thermal noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import expm

from ..core.arguments import by_annotations
from ..core.errors import InputError, check_integer, check_non_negative, check_one
from .equation import Coefficient, Equation, check_batched, check_function, plain_matrix

Array = NDArray[np.float64]


@by_annotations
@dataclass(frozen=True)
class Langevin(Equation):
    """The underdamped Langevin equation dq = v dt, dv = M^-1 F(q, t; p) dt - gamma v dt + B dW, at temperature T.

    B B^T = T (gamma M^-1 + M^-1 gamma^T): for F = -grad U the stationary density is exp(-(U + v^T M v / 2) / T), for any
    friction and mass; for numbers B = sqrt(2 gamma T / M).

    `force` F in the form of `SDE`'s coefficients, of q alone (n = 1: a float of a float; n > 1: tuples of n floats);
    `n_coordinates` n; the components are (q_1, ..., q_n, v_1, ..., v_n). `friction` gamma >= 0 in units of 1 / t, `mass` M > 0:
    numbers, (n,) for each coordinate, or matrices (n, n); M symmetric, and gamma such that B exists (an antisymmetric part of
    gamma M^-1, as of a magnetic force, is allowed). `temperature` T >= 0 in units of energy. `batched` as in `SDE`.
    Raises InputError for a value out of range.

    >>> Langevin(lambda q, t, p: -q, friction=0.5, temperature=1.0).dim
    2
    """

    parts: ClassVar[tuple[str, ...]] = ("q", "v")
    force: Coefficient
    friction: ArrayLike = 1.0
    temperature: float = 1.0
    n_coordinates: int = 1
    batched: bool | str = False
    mass: ArrayLike = 1.0

    def __post_init__(self) -> None:
        check_function("force", self.force)
        object.__setattr__(self, "batched", check_batched(self.batched))
        n = check_integer(self.n_coordinates, "n_coordinates", 1)
        object.__setattr__(self, "temperature", check_one(check_non_negative, self.temperature, "temperature"))
        for name in ("friction", "mass"):
            object.__setattr__(self, name, plain_matrix(name, getattr(self, name), n))
            if np.ndim(getattr(self, name)) < 2:
                check_non_negative(getattr(self, name), name)
        if not _is_mass(np.asarray(self.mass)):
            raise InputError("mass", self.mass, "numbers > 0, or a symmetric positive matrix")
        if 2 in (np.ndim(self.friction), np.ndim(self.mass)):
            values = np.linalg.eigvalsh(self._friction_noise)
            if values[0] < -1e-12 * max(values[-1], 0.0):
                raise InputError("friction", self.friction, "numbers >= 0, or a matrix with gamma M^-1 + M^-1 gamma^T >= 0")
        object.__setattr__(self, "dim", 2 * n)
        object.__setattr__(self, "n_noise", n)

    @property
    def friction_matrix(self) -> Array:
        """gamma, (n, n)."""
        return _matrix(self.friction, self.n_coordinates)

    @property
    def mass_matrix(self) -> Array:
        """M, (n, n)."""
        return _matrix(self.mass, self.n_coordinates)

    @property
    def noise_matrix(self) -> Array:
        """B, the symmetric root of T (gamma M^-1 + M^-1 gamma^T), (n, n)."""
        return _root(self.temperature * self._friction_noise)

    @property
    def _friction_noise(self) -> Array:
        drag = self.friction_matrix @ np.linalg.inv(self.mass_matrix)
        return np.asarray(drag + drag.T)

    def friction_step(self, h: float) -> tuple[Array, Array, Array]:
        """K, L and M^-1: friction and noise alone take v to K v + L xi within h.

        K = exp(-gamma h), L L^T = T (M^-1 - K M^-1 K^T); (n,) each where no matrix mixes coordinates, else (n, n).
        """
        inverse: Array = np.asarray(np.linalg.inv(self.mass_matrix), dtype=np.float64)
        if not (_mixes(self.friction_matrix) or _mixes(inverse)):
            rate, light = np.diag(self.friction_matrix), np.diag(inverse)
            return np.exp(-h * rate), np.sqrt(-np.expm1(-2.0 * h * rate) * self.temperature * light), light
        keep = expm(-h * self.friction_matrix)
        return keep, _root(self.temperature * (inverse - keep @ inverse @ keep.T)), inverse

    def coefficients(self) -> dict[str, Coefficient]:
        return {"force": self.force}


def _matrix(value: ArrayLike, n: int) -> Array:
    array = np.asarray(value, dtype=np.float64)
    return array if array.ndim == 2 else np.diag(np.broadcast_to(array, (n,)))


def _is_mass(mass: Array) -> bool:
    if mass.ndim < 2:
        return bool(np.all(mass > 0.0))
    values = np.linalg.eigvalsh(mass)
    return bool(np.allclose(mass, mass.T) and values[0] > 1e-12 * values[-1])


def _mixes(matrix: Array) -> bool:
    return bool(np.any(matrix != np.diag(np.diag(matrix))))


def _root(matrix: Array) -> Array:
    """The symmetric root of a matrix that is not negative."""
    values, basis = np.linalg.eigh((matrix + matrix.T) / 2.0)
    return np.asarray((basis * np.sqrt(np.maximum(values, 0.0))) @ basis.T)
