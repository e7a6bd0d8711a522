"""A matrix times a vector inside a user's function f(x, t, p, out), as fast as registers allow."""

from __future__ import annotations

from typing import Any

from ..core.compile import njit


@njit(error_model="numpy", fastmath={"contract"})
def multiply(a: Any, x: Any, out: Any) -> None:
    """out <- a x, for a drift f(x, t, p, out) of a dense linear system: a (rows, columns), x (columns,), out (rows,).

    The same numbers as `for i ...: for j ...: s += a[i, j] * x[j]`, but four rows together, so that each entry of x is loaded
    once for all of them: on many paths at once a loop over one row waits for memory.

    >>> import numpy as np
    >>> out = np.empty(2)
    >>> multiply(np.array([[1.0, 2.0], [0.0, 3.0]]), np.array([1.0, 1.0]), out)
    >>> out
    array([3., 3.])
    """
    rows, columns = a.shape
    whole = rows - rows % 4
    for i in range(0, whole, 4):
        v = x[0]
        s, u, w, y = a[i, 0] * v, a[i + 1, 0] * v, a[i + 2, 0] * v, a[i + 3, 0] * v
        for j in range(1, columns):
            v = x[j]
            s = s + a[i, j] * v
            u = u + a[i + 1, j] * v
            w = w + a[i + 2, j] * v
            y = y + a[i + 3, j] * v
        out[i], out[i + 1], out[i + 2], out[i + 3] = s, u, w, y
    for i in range(whole, rows):
        s = a[i, 0] * x[0]
        for j in range(1, columns):
            s = s + a[i, j] * x[j]
        out[i] = s
