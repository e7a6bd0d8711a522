"""Metrics of many runs at once in machine code: from a problem's own kernels, or from its outputs and pullbacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import extending, types
from numpy.typing import NDArray

from ..core.compile import njit
from ..core.simd.address import by_address
from ..core.simd.matrix import aligned
from .compiled import KERNEL, METRIC, PULLBACK

if TYPE_CHECKING:
    from .compiled import Kernels

MOST = 4
"""Own kernels that one call may measure: the compiled code takes a fixed number of them."""
LOSS, TRACE, UNCOMPILED = -1, -2, -3
"""Metrics without a kernel of their own: the loss, from the outputs; |J|^2 / P, from pullbacks; and those that need NumPy."""

_M = types.Array(types.float64, 2, "C")
_V = types.Array(types.float64, 1, "C")


class Model(NamedTuple):
    """A problem as compiled code takes it. (A tuple that begins with a function, or holds only those, makes Numba warn.)"""

    kinds: NDArray[np.int64]
    """What each metric is: the number of its own kernel below, or LOSS, TRACE or UNCOMPILED, (n_metrics,)."""
    data: NDArray[np.float64]
    """Constants of the kernels."""
    targets: NDArray[np.float64]
    """y, (P,)."""
    by_sample: bool
    """Whether a pullback may be asked for one sample alone."""
    fused: bool
    """Whether a pullback may find the outputs too."""
    outputs: Any
    """Of signature KERNEL."""
    pullback: Any
    """Of signature PULLBACK."""
    metric_0: Any
    """Of signature METRIC, and so the others."""
    metric_1: Any
    metric_2: Any
    metric_3: Any


_METRIC = types.FunctionType(METRIC)
MODEL = types.NamedTuple(
    (
        types.Array(types.int64, 1, "C"), _M, _V, types.boolean, types.boolean,
        types.FunctionType(KERNEL), types.FunctionType(PULLBACK), _METRIC, _METRIC, _METRIC, _METRIC,
    ),
    Model,
)  # fmt: skip


@extending.typeof_impl.register(Model)
def _type_of(value: Model, context: Any) -> Any:
    """Known: Numba would take a tenth of a millisecond at each call to find it from the functions."""
    return MODEL


@njit(METRIC, cache=True, nogil=True)
def _nothing(data: Any, w: Any, out: Any, scratch: Any) -> None:
    """In the place of a metric that is not asked for."""


def model(kernels: Kernels, targets: NDArray[np.float64], metrics: Sequence[Any] = ()) -> Model:
    """The kernels as compiled code takes them; `metrics` as `Problem.compiled_metric` finds them."""
    own: list[Any] = []
    kinds = []
    for metric in metrics:
        if metric is None or (not isinstance(metric, int) and len(own) == MOST):
            kinds.append(UNCOMPILED)
        elif isinstance(metric, int):
            kinds.append(metric)
        else:
            kinds.append(len(own))
            own.append(metric)
    functions = [by_address(kernels.outputs, KERNEL), by_address(kernels.pullback, PULLBACK)]
    functions += [by_address(metric, METRIC) for metric in (*own, *[_nothing] * (MOST - len(own)))]
    data, y = (np.ascontiguousarray(x, dtype=np.float64) for x in (kernels.data, targets))
    return Model(np.array(kinds, dtype=np.int64), data, y, bool(kernels.by_sample), bool(kernels.fused), *functions)


@njit(fastmath={"contract"}, error_model="numpy")
def _loss(model: Any, w: Any, out: Any, scratch: Any) -> None:
    """out (lanes,) <- |f - y|^2 / (2P)."""
    p, lanes = model.targets.shape[0], w.shape[1]
    f = aligned(p, lanes)
    model.outputs(model.data, w, f, scratch)
    out[:] = 0.0
    for i in range(p):
        for n in range(lanes):
            r = f[i, n] - model.targets[i]
            out[n] += r * r
    for n in range(lanes):
        out[n] /= 2 * p


@njit(fastmath={"contract"}, error_model="numpy")
def _trace(model: Any, w: Any, out: Any, scratch: Any) -> None:
    """out (lanes,) <- |J|^2 / P: a pullback for each output, of its sample alone where that is possible."""
    p, (rows, lanes) = model.targets.shape[0], w.shape
    samples = model.data.shape[0] if model.by_sample else 1
    each = p // samples
    r, g = aligned(each, lanes), aligned(rows, lanes)
    out[:] = 0.0
    for sample in range(samples):
        data = model.data[sample : sample + 1] if model.by_sample else model.data
        for k in range(each):
            r[:] = 0.0
            r[k] = 1.0
            model.pullback(data, w, r, g, scratch)
            for i in range(rows):
                for n in range(lanes):
                    out[n] += g[i, n] * g[i, n]
    for n in range(lanes):
        out[n] /= p


@njit
def measure(model: Any, kind: int, w: Any, out: Any, scratch: Any) -> None:
    """out (lanes,) <- a metric of this kind at w (N, lanes)."""
    if kind == LOSS:
        _loss(model, w, out, scratch)
    elif kind == TRACE:
        _trace(model, w, out, scratch)
    elif kind == 0:
        model.metric_0(model.data, w, out, scratch)
    elif kind == 1:
        model.metric_1(model.data, w, out, scratch)
    elif kind == 2:
        model.metric_2(model.data, w, out, scratch)
    else:
        model.metric_3(model.data, w, out, scratch)
