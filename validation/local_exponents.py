"""The local exponent of the best momentum, between neighbouring learning rates, against the learning rate: does it go to 2/3?

`python -m validation.claims` draws docs/figures/local_exponent.png from the stored results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from sde_momentum.figures.style import BLACK, BLUE, GREEN, ORANGE, STYLE, tick
from sde_momentum.predictors.measured_optimum import Optima, first_correction

from .drawing import one_legend, plt

LIMIT = 2 / 3


def local_exponents(sweeps: Mapping[str, Sequence[tuple[str, Optima]]]) -> Figure:
    """A panel for each system: measured local exponents of its sweeps (label, optima), and those of the laws with theory's first
    correction, C lr^(2/3) exp(a lr^p), at both ends of the powers p that it allows [theory: Finite learning rate]."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(sweeps), figsize=(3.6 * len(sweeps) + 0.4, 3.9), sharey=True, squeeze=False)
        for axis, (system, found) in zip(axes[0], sweeps.items(), strict=True):
            axis.axhline(LIMIT, color=BLACK, lw=1, label="2/3")
            every = np.concatenate([optima.lr for _, optima in found])
            lr = np.geomspace(every.min(), every.max(), 100)
            for power, colour, style in ((1 / 6, ORANGE, "-"), (1 / 3, GREEN, "--")):
                (a,) = first_correction([optima for _, optima in found], LIMIT, power).corrections
                line, low, high = (LIMIT + slope * power * lr**power for slope in (a.value, a.low, a.high))
                axis.fill_between(lr, low, high, color=colour, alpha=0.2, lw=0)
                label = rf"2/3, corrected in lr$^{{1/{round(1 / power)}}}$"
                axis.plot(lr, line, style, color=colour, lw=1.8, label=label)
            for (label, optima), colour, mark in zip(found, (BLACK, BLUE), "os", strict=False):
                steps = [optima.local_exponent(i) for i in range(len(optima.lr) - 1)]
                middle = np.sqrt(optima.lr[1:] * optima.lr[:-1])
                value = np.array([e.value for e in steps])
                bars = np.array([[e.value - e.low, e.high - e.value] for e in steps]).T
                axis.errorbar(middle, value, np.maximum(bars, 0), fmt=mark, ms=5, color=colour, lw=1, label=label)
            axis.set(xscale="log", xlabel="learning rate", title=system)
            axis.xaxis.set_major_locator(LogLocator(subs=(1.0,) if lr[-1] > 200 * lr[0] else (1.0, 3.0)))
            axis.xaxis.set_major_formatter(FuncFormatter(tick))
            axis.xaxis.set_minor_formatter(NullFormatter())
        axes[0, 0].set(ylabel="local exponent, 95 %", ylim=(0.35, 1.1))
        one_legend(figure, axes[0], ncols=5)
    return figure
