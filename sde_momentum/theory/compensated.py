"""Sums of products that keep their digits where the terms cancel: the margins and discriminants of `formulas`.

At the boundary of a regime the value of 2 (1 + beta) - lr * eigenvalue is far smaller than its terms, and
rounding the product alone would leave no correct digit. Products are therefore kept with their
rounding errors and the sum is formed in three-fold precision: algorithm DotK with K = 3 of T. Ogita,
S. M. Rump, S. Oishi, "Accurate sum and dot product", SIAM J. Sci. Comput. 26 (2005) 1955.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
_SPLITTER = 2.0**27 + 1  # halves the 53 bits (Veltkamp)


def two_sum(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """The rounded sum and its rounding error: their sum is x + y exactly (Knuth)."""
    total = x + y
    y_part = total - x
    return total, (x - (total - y_part)) + (y - y_part)


def two_product(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """The rounded product and its rounding error: their sum is x y exactly (Dekker)."""
    product = x * y
    (x_high, x_low), (y_high, y_low) = _halves(x), _halves(y)
    return product, x_low * y_low - (((product - x_high * y_high) - x_low * y_high) - x_high * y_low)


def sum_of_products(*products: tuple[ArrayLike, ...]) -> Floats:
    """The sum of the products of the given factors, for factors that broadcast.

    Relative error about 2^-53 + 2^-159 (sum of |products|) / |sum|, barring overflow beyond 1e300 and
    underflow below 1e-290 inside a product.

    >>> float(sum_of_products((1.0,), (-(1 + 2**-30), 1 - 2**-30))) == 2**-60
    True
    """
    terms = [term for factors in products for term in _exact_product(*factors)]
    for _ in range(2):
        for i in range(1, len(terms)):
            terms[i], terms[i - 1] = two_sum(terms[i], terms[i - 1])
    return sum(terms[:-1], np.float64(0)) + terms[-1]


def _exact_product(first: ArrayLike, *others: ArrayLike) -> list[Floats]:
    """Floats whose sum is the product exactly."""
    terms = [np.asarray(first, dtype=np.float64)]
    for other in others:
        factor = np.asarray(other, dtype=np.float64)
        terms = [part for term in terms for part in two_product(term, factor)]
    return terms


def _halves(x: Floats) -> tuple[Floats, Floats]:
    scaled = _SPLITTER * x
    high = scaled - (scaled - x)
    return high, x - high
