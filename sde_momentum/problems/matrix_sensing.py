"""Matrix sensing: f_i(U, V) = <A_i, U V>, from P Gaussian measurements of a low-rank matrix.

Source: the first experiment of Cowsik, Can, Glorioso (arXiv 2210.16400). The flattest points of Gamma have the least nuclear
norm, so that the drift along Gamma recovers the hidden matrix.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..core.arguments import by_annotations
from ..core.compile import njit
from ..core.errors import InputError, check_integer, check_positive, check_shape
from ..core.simd.lanes import narrow, widen
from ..core.simd.matrix import WIDTH, aligned, product, product_by_lane, product_transposed, sum_of_products
from .compiled import CONTRACTION, JACOBIAN, KERNEL, METRIC, PULLBACK, Kernels
from .interpolation import descend_to_manifold
from .metrics import METRICS
from .problem import Array, Problem

# FMA contraction is allowed, reassociation is not: a lane's numbers must not depend on its neighbours.
_COMPILE: dict[str, Any] = {"cache": True, "nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}


_LARGEST = 2**31
"""Largest number of entries of all measurements, 16 GB."""
_OWN_ROWS = 3
"""Rows of the kernels' data below the A_i: X*, and the two matrices of tr H."""


def _kernels(symmetric: bool) -> tuple[Any, Any]:
    """(outputs, pullback). Fewer lanes than a tile has are padded, and the results cut."""
    n_factors = 1 if symmetric else 2

    # A matrix within the rows of an array, as `product_by_lane` takes it: (rows, first, down, across).

    @njit(KERNEL, **_COMPILE)
    def outputs(a: Any, w: Any, f: Any, scratch: Any) -> None:
        asked = f
        if w.shape[1] < WIDTH:
            f, scratch = aligned(f.shape[0], WIDTH), aligned(scratch.shape[0], WIDTH)
            w = widen(w, WIDTH)
        d = int(np.sqrt(a.shape[1]) + 0.5)
        r = w.shape[0] // (n_factors * d)
        u, x = (w, 0, r, 1), scratch[: d * d]
        v = (w, 0, 1, r) if symmetric else (w, d * r, d, 1)
        product_by_lane(u, v, (x, 0, d, 1), d, r, d)
        product(a[: f.shape[0]], x, f)
        if asked.shape[1] < WIDTH:
            narrow(f, asked)

    @njit(PULLBACK, **_COMPILE)
    def pullback(a: Any, w: Any, residual: Any, g: Any, scratch: Any) -> None:
        asked = g
        if w.shape[1] < WIDTH:
            g, scratch = aligned(g.shape[0], WIDTH), aligned(scratch.shape[0], WIDTH)
            w, residual = widen(w, WIDTH), widen(residual, WIDTH)
        d = int(np.sqrt(a.shape[1]) + 0.5)
        r = w.shape[0] // (n_factors * d)
        s = scratch[: d * d]  # S = sum_i r_i A_i
        product_transposed(a[: residual.shape[0]], residual, s)
        if symmetric:  # (S + S^T) U
            for i in range(d):
                for j in range(i + 1):
                    for n in range(s.shape[1]):
                        total = s[i * d + j, n] + s[j * d + i, n]
                        s[i * d + j, n] = total
                        s[j * d + i, n] = total
            product_by_lane((s, 0, d, 1), (w, 0, r, 1), (g, 0, r, 1), d, d, r)
        else:  # S V^T and U^T S
            product_by_lane((s, 0, d, 1), (w, d * r, 1, d), (g, 0, r, 1), d, d, r)
            product_by_lane((w, 0, 1, r), (s, 0, d, 1), (g, d * r, d, 1), r, d, d)
        if asked.shape[1] < WIDTH:
            narrow(g, asked)

    return outputs, pullback


def _derivatives(symmetric: bool) -> tuple[Any, Any]:
    """(jacobian, contract_hessians), padded as the kernels."""
    n_factors = 1 if symmetric else 2

    # Entry (i, j) of A_i is number `first + i d + j` of its data, and the matrices are `sum_of_products`' own.

    @njit(JACOBIAN, **_COMPILE)
    def jacobian(a: Any, w: Any, jacobian: Any, scratch: Any) -> None:
        p, rows, lanes = jacobian.shape
        out = jacobian.reshape(p * rows, lanes)
        if lanes < WIDTH:
            w, out = widen(w, WIDTH), aligned(p * rows, WIDTH)
        d = int(np.sqrt(a.shape[1]) + 0.5)
        r = rows // (n_factors * d)
        if symmetric:  # 2 A_i U
            doubled = aligned(rows, w.shape[1])
            for i in range(rows):
                for n in range(w.shape[1]):
                    doubled[i, n] = 2.0 * w[i, n]
            for i in range(p):
                sum_of_products((a, i * d * d, d, 1, 0), (doubled, 0, r, 1, 0), (out, i * rows, r, 1), d, d, r, 1)
        else:  # A_i V^T, and (A_i^T U)^T
            for i in range(p):
                sum_of_products((a, i * d * d, d, 1, 0), (w, d * r, 1, d, 0), (out, i * rows, r, 1), d, d, r, 1)
                sum_of_products((a, i * d * d, 1, d, 0), (w, 0, r, 1, 0), (out, i * rows + d * r, 1, d), d, d, r, 1)
        if lanes < WIDTH:
            narrow(out, jacobian.reshape(p * rows, lanes))

    @njit(CONTRACTION, **_COMPILE)
    def contract_hessians(a: Any, w: Any, c: Any, g: Any, scratch: Any) -> None:
        asked = g
        p, rows, lanes = c.shape
        by = c.reshape(p * rows, lanes)
        if lanes < WIDTH:
            by, g = widen(by, WIDTH), aligned(rows, WIDTH)
        d = int(np.sqrt(a.shape[1]) + 0.5)
        r = rows // (n_factors * d)
        if symmetric:  # 2 sum_i A_i c_i
            sum_of_products((a, 0, d, 1, d * d), (by, 0, r, 1, rows), (g, 0, r, 1), d, d, r, p)
            for i in range(rows):
                for n in range(g.shape[1]):
                    g[i, n] *= 2.0
        else:  # sum_i A_i (c_i)_V^T, and sum_i (A_i^T (c_i)_U)^T
            sum_of_products((a, 0, d, 1, d * d), (by, d * r, 1, d, rows), (g, 0, r, 1), d, d, r, p)
            sum_of_products((a, 0, 1, d, d * d), (by, 0, r, 1, rows), (g, d * r, 1, d), d, d, r, p)
        if lanes < WIDTH:
            narrow(g, asked)

    return jacobian, contract_hessians


def _metrics(symmetric: bool) -> tuple[Any, Any]:
    """(test_error, trace_hessian), padded as the kernels."""
    n_factors = 1 if symmetric else 2

    @njit(METRIC, **_COMPILE)
    def test_error(a: Any, w: Any, out: Any, scratch: Any) -> None:
        if w.shape[1] < WIDTH:
            w, scratch = widen(w, WIDTH), aligned(scratch.shape[0], WIDTH)
        d = int(np.sqrt(a.shape[1]) + 0.5)
        r = w.shape[0] // (n_factors * d)
        solution, x = a[a.shape[0] - _OWN_ROWS], scratch[: d * d]
        v = (w, 0, 1, r) if symmetric else (w, d * r, d, 1)
        product_by_lane((w, 0, r, 1), v, (x, 0, d, 1), d, r, d)
        size = (solution * solution).sum()
        out[:] = 0.0
        for i in range(d * d):
            for n in range(out.shape[0]):
                difference = x[i, n] - solution[i]
                out[n] += difference * difference
        for n in range(out.shape[0]):
            out[n] /= size

    @njit(METRIC, **_COMPILE)
    def trace_hessian(a: Any, w: Any, out: Any, scratch: Any) -> None:
        if w.shape[1] < WIDTH:
            w, scratch = widen(w, WIDTH), aligned(scratch.shape[0], WIDTH)
        d = int(np.sqrt(a.shape[1]) + 0.5)
        r = w.shape[0] // (n_factors * d)
        x = scratch[:d]
        out[:] = 0.0
        for k in range(n_factors):  # <U, G U>, and <V, V G'> with the other matrix
            gram = a[a.shape[0] - 2 + k].reshape(d, d)
            for h in range(r):
                first, step = (d * r + h * d, 1) if k else (h, r)
                column = w[first : first + d] if k else w[first : first + (d - 1) * r + 1 : r].copy()
                product(gram, column, x)
                for i in range(d):
                    for n in range(out.shape[0]):
                        out[n] += w[first + i * step, n] * x[i, n]
        if symmetric:  # each row of J is (A_i + A_i^T) U = 2 A_i U
            for n in range(out.shape[0]):
                out[n] *= 4.0

    return test_error, trace_hessian


_KERNELS = {symmetric: (_kernels(symmetric), _metrics(symmetric), _derivatives(symmetric)) for symmetric in (False, True)}


@by_annotations
class MatrixSensing(Problem):
    """f_i = <A_i, U V> (or <A_i, U U^T>), i = 1..P, with y_i = <A_i, X*> and X* of the given rank.

    w = (U, V) flattened row by row. The A_i are standard normal; X* has orthonormal factors and singular values
    1 / sqrt(rank), so that |X*|_F = 1.

    Args:
        d: the matrix is d x d
        rank: of X*, at most d
        n_measurements: P
        width: inner dimension of the factors, at least the rank (None: d, overparametrised)
        symmetric: X = U U^T, and symmetric A_i
        seed: of A and X*

    Raises:
        InputError: for a value out of range.

    >>> problem = MatrixSensing(d=8, rank=1, n_measurements=40)
    >>> problem.n_parameters, problem.n_outputs
    (128, 40)
    """

    name = "matrix-sensing"
    own_metrics = (replace(METRICS["test_error"], label="squared error of the matrix, relative"),)

    def __init__(
        self,
        d: int = 8,
        rank: int = 1,
        n_measurements: int = 40,
        *,
        width: int | None = None,
        symmetric: bool = False,
        seed: int = 0,
    ) -> None:
        self.d = check_integer(d, "d", 1, 10_000)
        self.rank = check_integer(rank, "rank", 1)
        if self.rank > self.d:
            raise InputError("rank", rank, f"a whole number from 1 to d = {d}")
        self.width = check_integer(self.d if width is None else width, "width", self.rank, 10_000)
        p = check_integer(n_measurements, "n_measurements", 1, max(1, _LARGEST // self.d**2))
        self.symmetric = bool(symmetric)
        self.seed = check_integer(seed, "seed", 0)
        rng = np.random.default_rng([self.seed, 0])
        left = np.linalg.qr(rng.standard_normal((self.d, self.rank)))[0]
        right = left if self.symmetric else np.linalg.qr(rng.standard_normal((self.d, self.rank)))[0]
        self.solution = left @ right.T / np.sqrt(self.rank)
        self.measurements = rng.standard_normal((p, self.d, self.d))
        if self.symmetric:
            self.measurements = (self.measurements + np.swapaxes(self.measurements, 1, 2)) / np.sqrt(2)
        self._transposed = np.swapaxes(self.measurements, 1, 2).reshape(p * self.d, self.d)
        self.targets = self.measurements.reshape(p, -1) @ self.solution.ravel()
        # sum_i A_i A_i^T / P and sum_i A_i^T A_i / P: tr H is a quadratic form in them
        self._gram_u = np.einsum("pik,pjk->ij", self.measurements, self.measurements) / p
        self._gram_v = np.einsum("pki,pkj->ij", self.measurements, self.measurements) / p
        rows = (*self.measurements, self.solution, self._gram_u, self._gram_v)
        self._data = np.stack([row.ravel() for row in rows])
        self._flat = self._data[:p]
        self.n_parameters = self.d * self.width * (1 if self.symmetric else 2)

    def settings(self) -> dict[str, Any]:
        return {
            "problem": self.name,
            "d": self.d,
            "rank": self.rank,
            "n_measurements": self.n_outputs,
            "width": self.width,
            "symmetric": self.symmetric,
            "problem_seed": self.seed,
        }

    @property
    def kernels(self) -> Kernels:
        kernels, (test_error, trace_hessian), (jacobian, contract_hessians) = _KERNELS[self.symmetric]
        metrics = {MatrixSensing.test_error: test_error, MatrixSensing.trace_hessian: trace_hessian}
        return Kernels(*kernels, self._data, self.d**2, metrics, jacobian=jacobian, contract_hessians=contract_hessians)

    def factors(self, w: Array) -> tuple[Array, Array]:
        """(U, V) of shapes (..., d, width) and (..., width, d); V = U^T in the symmetric case."""
        cut = self.d * self.width
        u = w[..., :cut].reshape(*w.shape[:-1], self.d, self.width)
        if self.symmetric:
            return u, np.swapaxes(u, -1, -2)
        return u, w[..., cut:].reshape(*w.shape[:-1], self.width, self.d)

    def product(self, w: Array) -> Array:
        """X = U V: (..., d, d)."""
        u, v = self.factors(w)
        return u @ v

    def outputs(self, w: Array) -> Array:
        return self.product(w).reshape(*w.shape[:-1], -1) @ self._flat.T

    def join(self, u: Array, v: Array) -> Array:
        """Gradients in U (..., d, width) and V (..., width, d) as one vector (..., N); the symmetric case adds the two halves."""
        u, v = check_shape("u", u, self.d, self.width), check_shape("v", v, self.width, self.d)
        if self.symmetric:
            return (u + np.swapaxes(v, -1, -2)).reshape(*u.shape[:-2], -1)
        return np.concatenate([u.reshape(*u.shape[:-2], -1), v.reshape(*v.shape[:-2], -1)], axis=-1)

    def jacobian(self, w: Array) -> Array:
        u, v = self.factors(w)
        d, p, many = self.d, self.n_outputs, w.shape[:-1]
        # A_i V^T, and A_i^T U transposed: each as one matrix product over (i, row)
        by_u = (self.measurements.reshape(p * d, d) @ np.swapaxes(v, -1, -2)).reshape(*many, p, d, self.width)
        by_v = (self._transposed @ u).reshape(*many, p, d, self.width)
        return self.join(by_u, np.swapaxes(by_v, -1, -2))

    def contract_hessians(self, w: Array, c: Array) -> Array:
        c_u, c_v = self.factors(c)
        d, p = self.d, self.n_outputs
        # sum_i A_i c_v_i^T and sum_i c_u_i^T A_i, each as one matrix product over (i, row)
        rows = np.swapaxes(self.measurements, 0, 1).reshape(d, p * d)
        by_u = rows @ np.swapaxes(c_v, -1, -2).reshape(*c.shape[:-2], p * d, self.width)
        stacked = np.moveaxis(c_u, -1, -3).reshape(*c.shape[:-2], self.width, p * d)
        by_v = stacked @ self.measurements.reshape(p * d, d)
        return self.join(by_u, by_v)

    def trace_hessian(self, w: Array) -> Array:
        u, v = self.factors(w)
        if self.symmetric:  # each row of J is (A_i + A_i^T) U = 2 A_i U
            return 4 * (u * (self._gram_u @ u)).sum(axis=(-2, -1))
        return (v * (v @ self._gram_v)).sum(axis=(-2, -1)) + (u * (self._gram_u @ u)).sum(axis=(-2, -1))

    def test_error(self, w: Array) -> Array:
        """|U V - X*|_F^2 / |X*|_F^2."""
        return np.square(self.product(w) - self.solution).sum(axis=(-2, -1)) / np.square(self.solution).sum()

    def unit_outputs(self, w: Array) -> Array:
        """Share of each unit of the inner dimension in the outputs, t_ih = u_h^T A_i v_h: (..., N) -> (..., P, width)
        [theory: Forces, eq. 6.12]."""
        u, v = self.factors(w)
        return np.asarray(np.einsum("...ah,iab,...hb->...ih", u, self.measurements, v))

    def unit_gradient(self, w: Array, weights: Array) -> Array:
        """sum_ih weights_ih grad t_ih: (..., N), (..., P, width) -> (..., N)."""
        u, v = self.factors(w)
        weights = check_shape("weights", weights, self.n_outputs, self.width)
        by_u = np.einsum("...ih,iab,...hb->...ah", weights, self.measurements, v)
        by_v = np.einsum("...ih,iab,...ah->...hb", weights, self.measurements, u)
        return self.join(by_u, by_v)

    def without_units(self) -> Array:
        """Row h: 0 at the parameters of unit h, 1 elsewhere, (width, N)."""
        ones = np.ones((self.d, self.width))
        units = np.arange(self.width)
        u = np.stack([(ones * (units != h)).ravel() for h in units])
        v = np.stack([(ones * (units != h)).T.ravel() for h in units])
        return u if self.symmetric else np.concatenate([u, v], axis=1)

    @by_annotations
    def random_start(self, scale: float = 1e-2, seed: int = 0) -> Array:
        """Independent normal entries of standard deviation `scale`, (N,)."""
        check_positive(scale, "scale")
        rng = np.random.default_rng([check_integer(seed, "seed", 0), 1])
        return scale * rng.standard_normal(self.n_parameters)

    def interpolating_start(self, scale: float | None = None, seed: int = 0) -> Array:
        """A point of Gamma, (N,), reached from `random_start(scale, seed)`; `scale` None: 1 / sqrt(width)."""
        if scale is None:
            scale = self.width**-0.5
        return descend_to_manifold(self, self.random_start(scale, seed))
