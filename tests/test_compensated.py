"""Sums of products against exact rational arithmetic."""

from __future__ import annotations

from fractions import Fraction
from math import prod

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sde_momentum.theory.compensated import sum_of_products, two_product, two_sum

POINTS = settings(max_examples=200, derandomize=True, deadline=None)
NUMBERS = st.one_of(st.floats(-8, 8), st.floats(1e-20, 1e-6), st.floats(-1e12, -1e3)).filter(lambda x: x == 0 or abs(x) > 1e-30)


@POINTS
@given(NUMBERS, NUMBERS)
def test_rounding_errors_of_sum_and_product_are_exact(x, y):
    total, product = two_sum(np.float64(x), np.float64(y)), two_product(np.float64(x), np.float64(y))
    assert sum(map(Fraction, map(float, total))) == Fraction(x) + Fraction(y)
    assert sum(map(Fraction, map(float, product))) == Fraction(x) * Fraction(y)


@POINTS
@given(st.lists(st.lists(NUMBERS, min_size=1, max_size=4), min_size=1, max_size=5), st.booleans())
def test_sum_keeps_its_digits_when_the_terms_cancel(products, cancel):
    if cancel:  # append the rounded sum with the opposite sign: what is left is its rounding error
        rounded = float(sum_of_products(*map(tuple, products)))
        products = [*products, [-rounded]]
    exact = sum(prod(map(Fraction, factors), start=Fraction(1)) for factors in products)
    size = sum(abs(prod(map(Fraction, factors), start=Fraction(1))) for factors in products)
    computed = Fraction(float(sum_of_products(*map(tuple, products))))
    assert abs(computed - exact) <= abs(exact) * Fraction(2) ** -51 + size * Fraction(2) ** -140


def test_factors_broadcast():
    columns, rows = np.array([[1.0], [2.0]]), np.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(sum_of_products((4.0,), (-1.0, columns, rows)), 4 - columns * rows)
