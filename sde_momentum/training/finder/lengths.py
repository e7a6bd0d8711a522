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


_STILL = 100
"""Most steps at lr 0 in which the loss of a cooled-down trial is measured: parameters stand still, batches are those of all."""


def n_measured(n_steps: int, anneal: bool) -> int:
    """Number of last steps whose loss is compared: those at lr 0 after a cool-down, or the last fifth at constant lr."""
    fifth = max(10, int(COOL_DOWN * n_steps))
    return min(fifth, _STILL) if anneal else fifth


def n_all(n_steps: int, anneal: bool) -> int:
    """Number of steps of a trial with those at lr 0.

    >>> n_all(150, anneal=True), n_all(150, anneal=False)
    (180, 150)
    """
    return n_steps + (n_measured(n_steps, anneal) if anneal else 0)
