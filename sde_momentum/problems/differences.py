"""Derivatives of a function in NumPy: by complex step where the function takes complex numbers, else by central differences."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np

from .array_functions import LEAST, Array, ArrayFunctions, Function, lanes_within

_FIRST, _SECOND = 3e-6, 3e-5
"""Steps of first and second central differences in units of 1 + max |w|: truncation and rounding errors balance."""
_COMPLEX = 1e-30
"""Imaginary step: its square is lost to rounding, so that the derivative has no truncation error."""
_AGREES = 1e-5
"""Relative difference allowed between complex step and central differences, whose own error is about 1e-9."""
_CHUNK = 2**17
"""Numbers of the points of one call: 2 MB where they are complex or in pairs."""


def numpy_functions(
    f: Function, points: Array, jacobian: Function | None, contract_hessians: Function | None, many: bool
) -> ArrayFunctions:
    """f with its derivatives, those that are not given by complex step or central differences.

    Args:
        f: (n, N) -> (n, P)
        points: where the complex step is tried, (n, N)
        jacobian, contract_hessians: as in `ArrayFunctions`, None for not given
        many: whether f takes many points faster than one after the other
    """
    first, second, how = jacobian, contract_hessians, "given"
    if first is None and _takes_complex_step(f, points):
        first, how = partial(_jacobian_by_complex_step, f), "complex step"
    if second is None and first is not None:
        second = partial(_contract_by_differences, first, _FIRST)
        how += ", second derivatives by central differences"
    if first is None:
        first, how = partial(_jacobian_by_differences, f, _FIRST), "central differences"
        second = second or partial(_contract_by_differences, partial(_jacobian_by_differences, f, _SECOND), _SECOND)
    lanes = lanes_within(f(points[:1]).shape[1] * points.shape[1]) if many else LEAST
    return ArrayFunctions(f, first, second, how, lanes)  # type: ignore[arg-type]


def _step(w: Array, size: float) -> Array:
    """The step of a difference at w: (n, N) -> (n, 1)."""
    return np.asarray(size * (1 + np.abs(w).max(axis=-1, keepdims=True)))


def _in_chunks(function: Function, w: Array) -> Array:
    """A function of rows (n, N) that looks at N points for each: few rows at a time, which stay in the cache."""
    rows = max(1, _CHUNK // w.shape[1] ** 2)
    return np.concatenate([function(w[first : first + rows]) for first in range(0, len(w), rows)])


def _jacobian_by_differences(f: Function, size: float, w: Array) -> Array:
    """J, (n, P, N), from 2 N points for each of w (n, N)."""

    def some(w: Array) -> Array:
        n, width = w.shape
        step = _step(w, size)[:, None]
        shifts = step * np.eye(width)
        both = np.stack([w[:, None] + shifts, w[:, None] - shifts])
        ahead, behind = f(both.reshape(-1, width)).reshape(2, n, width, -1)
        return np.swapaxes((ahead - behind) / (2 * step), 1, 2)

    return _in_chunks(some, w)


def _contract_by_differences(jacobian: Function, size: float, w: Array, c: Array) -> Array:
    """sum_i hess f_i c_i, (n, N), from 2 N Jacobians for each of w (n, N)."""
    step = _step(w, size)
    out = []
    for shift in np.eye(w.shape[1]):  # one after the other: many Jacobians at once need much memory
        ahead, behind = np.split(jacobian(np.concatenate([w + step * shift, w - step * shift])), 2)
        out.append(((ahead - behind) * c).sum(axis=(1, 2)) / (2 * step[:, 0]))
    return np.stack(out, axis=-1)


def _jacobian_by_complex_step(f: Function, w: Array) -> Array:
    """J_ik = Im f_i(w + i h e_k) / h, exact to rounding, from N points for each of w: (n, N) -> (n, P, N)."""

    def some(w: Array) -> Array:
        points = w[:, None] + 1j * _COMPLEX * np.eye(w.shape[1])
        return np.swapaxes(np.imag(f(points.reshape(-1, w.shape[1]))).reshape(*w.shape, -1), 1, 2) / _COMPLEX

    return _in_chunks(some, w)


def _takes_complex_step(f: Function, points: Array) -> bool:
    """Whether f takes complex points, and its imaginary part is the derivative: tried in a random direction at each of them."""
    direction = np.random.default_rng(1).standard_normal(points.shape)
    step = _step(points, _FIRST)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            stepped = f(points + 1j * _COMPLEX * direction)
            slope = (f(points + step * direction) - f(points - step * direction)) / (2 * step)
            values = f(points)
    except Exception:  # whatever a function makes of complex numbers, differences are left
        return False
    known = np.isfinite(slope).all(axis=1) & np.isfinite(stepped).all(axis=1)
    near = np.abs(np.imag(stepped) / _COMPLEX - slope) <= _AGREES * np.abs(slope).max(axis=1, keepdims=True) + 1e-8
    same = np.isclose(np.real(stepped), values, rtol=1e-9, atol=1e-12)
    return bool(known.any() and (near & same)[known].all())
