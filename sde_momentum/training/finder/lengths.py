"""Numbers of trials and their lengths; needs no torch."""

from __future__ import annotations

TRIALS = 6
"""Usual number of trials, by which a budget is shared out."""
COOL_DOWN = 0.2
"""Part of an annealed trial in which lr falls to 0."""
FACTORS = 3.2, 1.8
"""Factors between neighbouring 1 - beta around the best, first and last."""
_RELAXATIONS = 3.0
"""Least length of a trial, in relaxation times 2 / (1 - beta) of its momentum [theory: Relaxation]: shorter ones reward greed."""


def least_one_minus_beta(n_steps: int) -> float:
    """Least 1 - beta for which trials of this length are long enough.

    >>> least_one_minus_beta(600)
    0.01
    """
    return min(2 * _RELAXATIONS / n_steps, 1.0)
