"""What makes the answer of a momentum finder doubtful, and which trials would settle it; needs no torch."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from ...predictors.prediction_text import momentum_text
from .lengths import FACTORS, TRIALS, least_one_minus_beta, n_all, n_measured

if TYPE_CHECKING:
    from .result import FoundMomentum

_STILL_FALLS = 0.2
"""Fall of the logarithm of the loss in a trial from which the answer is doubtful."""
_LEARNS = 2.0
"""Standard deviations of a batch's loss by which the loss must fall in a trial, from its first batch, to show that it learns."""
_ENOUGH = 0.4
"""Length of a trial, in trainings, that was enough for a CNN where a fifth was not (docs/pytorch.md, Measured)."""


def doubts_of(found: FoundMomentum) -> Iterator[str]:
    """Each doubt in a sentence that names the options of `find_momentum` that would settle it, and their cost in these trials."""
    n, seeds, best = found.n_steps, found.losses.shape[1], int(np.nanargmin(found.score))
    made = max(1, int(np.isfinite(found.losses).sum()))
    least, most, training = float(found.tried[0]), float(found.tried[-1]), found.n_training

    def cost(n_trials: int, n_steps: int) -> str:
        return f"{n_trials * n_all(n_steps, found.anneal) * seeds / made:.2g} times the steps of these trials"

    ends = found.losses[best, :, -n_measured(n, found.anneal) :]
    scatter = np.sqrt(np.mean(np.diff(ends) ** 2) / 2)  # of batches, without what the loss falls meanwhile
    begin, end = float(found.losses[best, :, 0].mean()), float(ends.mean())
    if found.measure != "metric" and not begin - end > _LEARNS * scatter / np.sqrt(seeds):
        course = f"its loss is {begin:.4g} before the first step and {end:.4g} at the end"
        yield f"no trial is shown to learn, not the best: {course}; another lr may, if there is anything left to learn"

    def texts(*tried: float) -> str:
        return ", ".join(momentum_text(float(delta)) for delta in tried)

    if n < found.n_usual:
        budget = max(1, ceil(found.seconds / made * found.n_usual * TRIALS * seeds))
        yield f"the budget cut the trials to {n} steps: the usual {found.n_usual} take a budget of {budget}"
    whole = training is not None and n >= training
    if found.fall > _STILL_FALLS and not whole:
        longer = "steps= two fifths of the training"
        if training is not None:
            wanted = ceil(_ENOUGH * training) if n < _ENOUGH * training else training
            longer = f"steps={wanted} ({cost(len(found.tried), wanted)})"
        share = 1 - np.exp(-found.fall)
        yield (
            f"the loss still falls, by {share:.0%} in {n} steps: trials compare speed, and the noise of the end is yet to come; "
            f"longer ones, {longer}, may ask for another momentum"
        )
    elif best == 0 and found.cliff is None and len(found.tried) > 1 and not whole:
        more = max(least / FACTORS[0], 0.0 if training is None else least_one_minus_beta(training))
        steps = max(n, ceil(n * least_one_minus_beta(n) / more - 1e-6))
        if more < least:
            trial = f"momenta=[{texts(more, least, found.tried[1])}], steps={steps}"
            yield f"the most momentum tried was the best: {trial} shows whether more is better ({cost(3, steps)})"
    elif best == len(found.tried) - 1 > 0 and most < 1:
        trial = f"momenta=[{texts(found.tried[-2], most, min(1.0, most * FACTORS[0]))}], steps={n}"
        yield f"the least momentum tried was the best: {trial} shows whether less is better ({cost(3, n)})"
    if np.isnan(found.excess_se).all():
        text = "one run of each momentum and one number from each: the noise is unknown"
        yield f"{text}; seeds=3 shows it ({cost(3 * len(found.tried), n)})"
