"""Compiled kernels of a problem, optional: outputs f(w), pullbacks J(w)^T r, Jacobians, second derivatives and metrics of many
runs at once in machine code.

Arrays are (rows, lanes): one run per lane, as SIMD needs it. A lane's numbers must not depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

_MATRIX = types.Array(types.float64, 2, "C")
_CUBE = types.Array(types.float64, 3, "C")
#: Signature of `outputs(data, w, f, scratch)`: writes f(w), (P, lanes), for w of shape (N, lanes).
KERNEL = types.void(_MATRIX, _MATRIX, _MATRIX, _MATRIX)
#: Signature of `pullback(data, w, r, g, scratch)`: writes J(w)^T r, (N, lanes), for r of shape (P, lanes).
PULLBACK = types.void(_MATRIX, _MATRIX, _MATRIX, _MATRIX, _MATRIX)
#: Where `fused`, r may also be (3P, lanes), rows (shift, scale, f): then it writes f(w), and r = (f - shift) scale.
#: Signature of a metric `metric(data, w, out, scratch)`: writes its values, (lanes,), for w of shape (N, lanes).
METRIC = types.void(_MATRIX, _MATRIX, types.Array(types.float64, 1, "C"), _MATRIX)
#: Signature of `jacobian(data, w, j, scratch)`: writes J(w), (P, N, lanes), for w of shape (N, lanes).
JACOBIAN = types.void(_MATRIX, _MATRIX, _CUBE, _MATRIX)
#: Signature of `contract_hessians(data, w, c, g, scratch)`: writes sum_i hess f_i c_i, the gradient of <c, J(w)> at fixed c,
#: (N, lanes), for c of shape (P, N, lanes).
CONTRACTION = types.void(_MATRIX, _MATRIX, _CUBE, _MATRIX, _MATRIX)


class Kernels(NamedTuple):
    """A problem's outputs and their derivatives as Numba functions, with their data and scratch space.

    Attributes:
        outputs: compiled for the signature KERNEL
        pullback: compiled for the signature PULLBACK
        data: constants that they read, of any two-dimensional shape
        scratch_rows: rows of the array (scratch_rows, lanes) that they may write to
        metrics: compiled for the signature METRIC, by the function that each is a copy of: a method of the problem's class that
            is a metric (`Valley.test_error`), or the `value` of a Metric. It is used for that function alone: not in a
            subclass that overrides the method, nor for another metric of the same name
        by_sample: whether `data` has a row for each sample, and the kernels take a single row and the P / rows outputs of it
        fused: whether `pullback` can find the outputs on its way: an update is then one pass, not two with much in common
        lanes: number of runs that they compute together; fewer cost as much
        jacobian, contract_hessians: compiled for the signatures JACOBIAN and CONTRACTION, None for none
    """

    outputs: Any
    pullback: Any
    data: NDArray[np.float64]
    scratch_rows: int
    metrics: Mapping[Callable[..., Any], Any] = {}
    by_sample: bool = False
    fused: bool = False
    lanes: int = 8
    jacobian: Any = None
    contract_hessians: Any = None


class LazyKernels(Kernels):
    """Kernels whose `jacobian` and `contract_hessians` are compiled when they are first asked for: training does without them."""

    derivatives: Callable[[], tuple[Any, Any]]

    @property
    def jacobian(self) -> Any:
        return self.derivatives()[0]

    @property
    def contract_hessians(self) -> Any:
        return self.derivatives()[1]
