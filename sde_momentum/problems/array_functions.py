"""A problem's functions on arrays, of many points at once: what NumPy, PyTorch and JAX are brought to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Function = Callable[..., Any]

LEAST, _MOST, _NUMBERS = 32, 512, 2**20
"""Least and most points in one call, and most numbers, from the least on."""


@dataclass(frozen=True)
class ArrayFunctions:
    """Functions of n points at once, on arrays of float64: w (n, N), c (n, P, N), r (n, P).

    Attributes:
        outputs: w -> (n, P)
        jacobian: w -> (n, P, N)
        contract_hessians: (w, c) -> (n, N), the gradient of <c, J(w)> at fixed c
        derivatives: how they are found, in words
        lanes: preferred number of points in one call
        vjp: w -> (f(w), pullback), pullback: r -> J(w)^T r, (n, N), by reverse-mode differentiation; None: by the Jacobian
        test_error: w -> (n,); None for none
    """

    outputs: Function
    jacobian: Function
    contract_hessians: Function
    derivatives: str
    lanes: int
    vjp: Function | None = None
    test_error: Function | None = None


def lanes_within(numbers: int) -> int:
    """Preferred number of points in one call, each of which takes so many `numbers`: 32 to 512, a multiple of 32.

    More than 512 gain nothing: a call's own cost is small by then. All together stay within 2^20 numbers, 8 MB, from 32 on.
    """
    return int(np.clip(_NUMBERS // max(1, numbers) // LEAST * LEAST, LEAST, _MOST))


def row_by_row(function: Function) -> Function:
    """A function of one point as one of many."""
    return lambda *arrays: np.stack([np.asarray(function(*row)) for row in zip(*arrays, strict=True)])
