"""Kernels that call a problem's own functions in Python: compiled code then steps problems without kernels too.

A call costs some microseconds and takes the interpreter's lock, so that blocks should have many lanes (`Problem.lanes`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from ..core.compile import njit
from ..core.simd.lanes import intrinsic
from .compiled import CONTRACTION, JACOBIAN, KERNEL, PULLBACK, Kernels
from .problem import Array, Problem

_CALL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)
_COMPILE: dict[str, Any] = {"cache": True, "nogil": True}


@intrinsic
def _call(context: Any, address: Any, w: Any, k: Any, out: Any, lanes: Any) -> Any:
    """Call the function of type _CALL at the address."""
    whole = ir.IntType(64)
    kind = ir.FunctionType(ir.VoidType(), [whole] * 4)

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(*(types.int64,) * 5), generate


@njit(KERNEL, **_COMPILE)
def _outputs(data: Any, w: Any, f: Any, scratch: Any) -> None:
    _call(np.int64(data[0, 0]), w.ctypes.data, 0, f.ctypes.data, w.shape[1])


@njit(PULLBACK, **_COMPILE)
def _pullback(data: Any, w: Any, r: Any, g: Any, scratch: Any) -> None:
    _call(np.int64(data[0, 1]), w.ctypes.data, r.ctypes.data, g.ctypes.data, w.shape[1])


@njit(JACOBIAN, **_COMPILE)
def _jacobian(data: Any, w: Any, out: Any, scratch: Any) -> None:
    _call(np.int64(data[0, 2]), w.ctypes.data, 0, out.ctypes.data, w.shape[1])


@njit(CONTRACTION, **_COMPILE)
def _contract_hessians(data: Any, w: Any, k: Any, g: Any, scratch: Any) -> None:
    _call(np.int64(data[0, 3]), w.ctypes.data, k.ctypes.data, g.ctypes.data, w.shape[1])


def _at(address: int, *shape: int) -> Array:
    return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_double)), shape)


class Callbacks:
    """The functions of a problem as compiled kernels; what they raise is kept, and raised again by `checked`.

    >>> import sde_momentum as sm
    >>> problem = sm.Problem.from_function(lambda w: w[:1] * w[1:], [1.0], 2)
    >>> with kernels_in_python(problem) as kernels:
    ...     w, f = np.array([[2.0, 1.0], [3.0, 1.0]]), np.empty((1, 2))
    ...     kernels.outputs(kernels.data, w, f, np.empty((0, 2)))
    ...     f
    array([[6., 1.]])
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.raised: BaseException | None = None
        named = (self._outputs, self._pullback, self._jacobian, self._contract_hessians)
        self._calls = [_CALL(self._guarded(function)) for function in named]
        # an address has at most 48 bits, which a float64 holds
        self.data = np.array([[float(ctypes.cast(call, ctypes.c_void_p).value or 0) for call in self._calls]])

    def _guarded(self, function: Callable[[int, int, int, int], None]) -> Callable[[int, int, int, int], None]:
        def call(w: int, k: int, out: int, lanes: int) -> None:
            if self.raised is None:
                try:
                    with np.errstate(all="ignore"):  # a run that diverges is marked by the caller
                        function(w, k, out, lanes)
                except BaseException as error:
                    self.raised = error

        return call

    def _points(self, w: int, lanes: int) -> Array:
        """The lanes' points, (lanes, N)."""
        return np.ascontiguousarray(_at(w, self.problem.n_parameters, lanes).T)

    def _outputs(self, w: int, _: int, out: int, lanes: int) -> None:
        # one matrix per run: the rounding of a product must not depend on the other runs
        values = self.problem.outputs(self._points(w, lanes)[:, None])[:, 0]
        _at(out, self.problem.n_outputs, lanes)[:] = values.T

    def _pullback(self, w: int, r: int, out: int, lanes: int) -> None:
        residual = np.ascontiguousarray(_at(r, self.problem.n_outputs, lanes).T)
        _at(out, self.problem.n_parameters, lanes)[:] = self.problem.pullback(self._points(w, lanes), residual).T

    def _jacobian(self, w: int, _: int, out: int, lanes: int) -> None:
        values = self.problem.jacobian(self._points(w, lanes))
        _at(out, self.problem.n_outputs, self.problem.n_parameters, lanes)[:] = np.moveaxis(values, 0, -1)

    def _contract_hessians(self, w: int, k: int, out: int, lanes: int) -> None:
        shape = (self.problem.n_outputs, self.problem.n_parameters, lanes)
        factors = np.ascontiguousarray(np.moveaxis(_at(k, *shape), -1, 0))
        values = self.problem.contract_hessians(self._points(w, lanes), factors)
        _at(out, self.problem.n_parameters, lanes)[:] = values.T


@contextmanager
def kernels_in_python(problem: Problem) -> Iterator[Kernels]:
    """Kernels of a problem that has none of its own, valid within the context, which raises what its functions raised."""
    calls = Callbacks(problem)
    yield Kernels(_outputs, _pullback, calls.data, 0, jacobian=_jacobian, contract_hessians=_contract_hessians)
    if calls.raised is not None:
        raise calls.raised
