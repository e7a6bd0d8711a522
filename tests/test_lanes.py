"""The vectorised functions: digits against mpmath, special values, and lanes that do not know their neighbours."""

from __future__ import annotations

from functools import cache

import mpmath
import numpy as np
import pytest
from numba import njit

from sde_momentum.core.simd import functions, lanes

WIDTH = 8

RANGES = {
    "exp": [(-740, 709.7), (-1, 1)],
    "tanh": [(-20, 20), (-1, 1), (-1e-3, 1e-3)],
    "erf": [(-6.5, 6.5), (-1, 1), (1.4, 1.6), (-1e-3, 1e-3), (-1e-300, 1e-300)],
    "log": [(1e-300, 1e300), (0.7, 1.4), (1e-310, 1e-308)],
    "sin": [(-10, 10), (-1e5, 1e5), (1e5, 1e15)],
    "cos": [(-10, 10), (-1e5, 1e5), (1e5, 1e15)],
    "sqrt": [(0, 10)],
    **{name: [(-0.99, 0.99)] for name in ("atan", "asin", "acos", "atanh", "asinh", "sinh", "cosh", "tan")},
    "acosh": [(1.1, 5)],
}


@cache
def compiled(name):
    function, load, store, width = getattr(functions, name), lanes.load_and_spread(WIDTH)[0], lanes.store, WIDTH

    @njit
    def run(x, y):
        for n in range(0, x.size, width):
            store(y, n, function(load(x, n)))

    return run


def apply(name, x):
    padded = np.resize(x, (1, -(-len(x) // WIDTH) * WIDTH)).astype(float)
    y = np.empty_like(padded)
    compiled(name)(padded, y)
    return y[0, : len(x)]


@pytest.mark.parametrize("name", RANGES)
def test_functions_are_within_three_units_in_the_last_place(name):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(low, high, 512) for low, high in RANGES[name]])
    with mpmath.workdps(50):  # sin and cos of large arguments need the digits
        exact = [getattr(mpmath, name)(mpmath.mpf(float(v))) for v in x]
        errors = [abs(mpmath.mpf(float(y)) - e) / np.spacing(abs(float(e))) for y, e in zip(apply(name, x), exact, strict=True)]
    assert max(errors) <= 3, f"{float(max(errors)):.2f} at {x[int(np.argmax(errors))]!r}"


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("exp", [-np.inf, -800, 0, 800, np.inf, np.nan], [0, 0, 1, np.inf, np.inf, np.nan]),
        ("tanh", [-np.inf, -1e300, -0.0, 0, 30, np.nan], [-1, -1, -0.0, 0, 1, np.nan]),
        ("erf", [-np.inf, -1e300, -0.0, 0, 5.93, np.inf, np.nan], [-1, -1, -0.0, 0, 1, 1, np.nan]),
        ("log", [-1, -0.0, 0, 1, np.inf, np.nan], [np.nan, -np.inf, -np.inf, 0, np.inf, np.nan]),
        ("sin", [0, np.nan], [0, np.nan]),
        ("cos", [0, np.nan], [1, np.nan]),
        ("sqrt", [-1, 0, 4], [np.nan, 0, 2]),
    ],
)
def test_special_values(name, x, y):
    values = apply(name, np.array(x, dtype=float))
    np.testing.assert_array_equal(values, y)
    known = ~np.isnan(values)  # -0.0 == 0.0, so the signs apart
    np.testing.assert_array_equal(np.signbit(values[known]), np.signbit(np.array(y, dtype=float)[known]))


@pytest.mark.parametrize("name", ["sin", "cos", "tanh", "erf", "exp", "log"])
def test_a_lane_is_the_same_in_any_company(name):
    x = np.random.default_rng(0).uniform(0.5, 3, WIDTH)
    company = np.where(np.arange(WIDTH) == 3, x, 1e9)
    assert apply(name, company)[3] == apply(name, x)[3]


def test_an_aligned_stack_is_asked_of_the_compiler():
    """Numbers do not show it: kernels whose stack is not aligned are slower by chance."""

    @njit
    def on_aligned_stack(x):
        lanes.aligned_stack()
        return x + 1.0

    assert on_aligned_stack(1.0) == 2.0
    assert "alignstack(64)" in on_aligned_stack.inspect_llvm(on_aligned_stack.signatures[0])
