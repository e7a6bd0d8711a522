"""The first phase of training: number of steps of the descent from an ordinary start to Gamma [theory: Relaxation]."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.arguments import by_annotations
from ..core.convergence import convergence_time
from ..core.errors import check_lr, check_one, check_one_minus_beta
from ..core.threads import one_blas_thread
from ..dynamics.effective_loss import EffectiveLoss
from ..problems.problem import Array, Problem

Floats = NDArray[np.float64]

REMAINDER = 0.01
"""Fraction of the loss at the start that is left at the end of the first phase."""

_LANES = 8
"""Momenta stepped together."""
_BLOCKS = 200
"""Records of the loss while the number of steps grows by a factor e."""
_LONGEST = 400_000
"""Steps after which a run that has not reached the remainder counts as never reaching it."""


@by_annotations
def first_phase(problem: Problem, start: ArrayLike, lr: float, *, nesterov: bool = False) -> Callable[[ArrayLike], Floats]:
    """Number of steps of the noise-free update until the loss stays below a hundredth of its start, as a function of 1 - beta.

    The update itself is run, because relaxation times hold only near Gamma [theory: Relaxation, eq. 2.9].

    Args:
        problem: the training problem
        start: initial parameters, (N,)
        lr: eta > 0
        nesterov: Nesterov momentum in place of heavy ball

    Returns:
        A function from 1 - beta in (0, 1] to steps, of the same shape; inf where the loss never stays below.

    Raises:
        InputError: for a value out of range.

    >>> import sde_momentum as sm
    >>> problem = sm.MatrixSensing(4, 1, 10)
    >>> steps = first_phase(problem, problem.random_start(0.5), 0.02)([0.05, 0.3, 1.0])
    >>> bool(steps[1] < steps[0] and steps[1] < steps[2])
    True
    """
    rate, point = check_one(check_lr, lr, "lr"), problem.check_point(start)

    def steps(one_minus_beta: ArrayLike) -> Floats:
        asked = check_one_minus_beta(one_minus_beta)
        flat = np.atleast_1d(asked).ravel()
        out = np.empty(flat.shape)
        order = np.argsort(flat)
        with one_blas_thread():
            for first in range(0, len(order), _LANES):
                chunk = order[first : first + _LANES]
                out[chunk] = _steps(problem, point, rate, flat[chunk], nesterov)
        return out.reshape(asked.shape)

    return steps


def _steps(problem: Problem, start: Array, lr: float, one_minus_beta: Floats, nesterov: bool) -> Floats:
    run = EffectiveLoss(problem, start, np.full(len(one_minus_beta), lr), one_minus_beta, 0.0, nesterov=nesterov)
    clock, values = [0.0], [run.metric("train_loss")]
    last_above = np.zeros(len(one_minus_beta))
    while run.step < _LONGEST:
        run.advance(max(1, run.step // _BLOCKS))
        clock.append(run.step)
        values.append(run.metric("train_loss"))
        last_above[~(values[-1] < REMAINDER * values[0])] = run.step
        # an oscillation's envelope falls within 1 / delta steps
        if np.all(np.isnan(values[-1]) | (run.step > np.maximum(1.3 * last_above, last_above + 2 / one_minus_beta))):
            break
    return convergence_time(np.array(values).T, np.array(clock), REMAINDER)
