"""The report: errors of the limits at each learning rate, and the powers of lr as which they fall."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sde_momentum.figures.style import LINES, STYLE

from ..drawing import plt
from ..estimates import both_exponents, plain_law
from ..experiment import Experiment
from ..report import Picture, Report, Section, Table
from ..store import versions
from .measure import Approach

_SHOWN = (5e-5, 5.0)
"""Errors between which the picture shows them, with room for the legend above."""


def summary(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """problem -> limit -> errors, their standard errors, the power laws in lr, and the power with its standard error, or None."""
    return {one.case: {limit: _numbers(one, limit) for limit in one.limits} for one in (Approach(**each) for each in results)}


def _numbers(one: Approach, limit: str) -> dict[str, Any]:
    error, se = one.error(limit)
    fits = [plain_law(law) for law in one.laws(limit)]
    return {"lr": one.lr, "error": error.tolist(), "error_se": se.tolist(), "fits": fits, "power": one.power(limit)}


def _finding(one: Approach, limit: str) -> str:
    laws = one.laws(limit)
    says = f"goes as lr^γ, {both_exponents(laws)}" if laws else "is within two standard errors of 0, but for two lr at most"
    return f"{one.case}: the error of the {limit} {says}."


def _power(one: Approach, limit: str) -> str:
    power = one.power(limit)
    return "compatible with 0" if power is None else f"{power[0]:.2f} ± {power[1]:.2f}"


def _table(found: Sequence[Approach]) -> Table:
    rows = []
    for one in found:
        for limit, (value, se) in one.limits.items():
            number = f"{value:.3f}" + (f" ± {se:.3f}" if se else "")
            cells = [f"{error:+.3f} ± {se:.3f}" for error, se in zip(*one.error(limit), strict=True)]
            rows.append([one.case, f"{one.scaled:.3g}", limit, number, *cells, _power(one, limit)])
    rates = [f"error at {lr:.2g}" for lr in found[0].lr]
    return Table(("problem", "D", "limit", "its number", *rates, "power of lr"), rows, shown=True, drop=("its number", *rates))


def picture(found: Sequence[Approach]) -> Figure:
    """Error against lr, both logarithmic, a panel for each problem, and the slope 1/3."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(found), figsize=(4.4 * len(found), 3.8), squeeze=False, sharey=True)
        for axis, one in zip(axes[0], found, strict=True):
            lr = np.array(one.lr)
            for limit, colour, marker in zip(one.limits, LINES, "os", strict=False):
                error, se = one.error(limit)
                power = one.power(limit)
                label = limit if power is None else f"{limit}: lr$^{{{power[0]:.2f} \\pm {power[1]:.2f}}}$"
                axis.errorbar(lr, np.abs(error), se, fmt=marker, ms=5, lw=1, color=colour, label=label)
            top = max(float(np.abs(one.error(limit)[0]).max()) for limit in one.limits)
            axis.plot(lr, top * (lr / lr.max()) ** (1 / 3), color="0.6", lw=1, ls="--", label=r"lr$^{1/3}$", zorder=0)
            axis.set(xscale="log", yscale="log", title=one.case, xlabel="learning rate")
            axis.legend(fontsize="small", loc="upper left")
        axes[0][0].set_ylim(*_SHOWN)
        axes[0][0].set_ylabel("relative error of the time")
    return figure


def report(experiment: Experiment, results: dict[str, Any]) -> Report:
    """Errors of both limits at each learning rate, and their powers of lr."""
    found, configuration = [Approach(**result) for result in results["results"]], results["configuration"]
    return Report(
        title=experiment.title,
        subtitle=f"profile {configuration['profile']}, seed {configuration['seed']}; ± is one standard error",
        summary={"summary": summary(results["results"])},
        findings=[_finding(one, limit) for one in found for limit in one.limits],
        sections=[
            Section(
                "Errors of the limits",
                table=_table(found),
                notes=["Error: measured time over the limit's number, less 1, at 1 − β = D (c lr²)^(1/3)."],
                pictures=[Picture("corrections", partial(picture, found), "The same; dashed: lr^(1/3).")],
            )
        ],
        how=[
            "At 1 − β = D (c lr²)^(1/3) the steps to the target, times (c lr²)^(1/3), go to a number as lr → 0. The critical "
            "limit says which; the effective loss, without fluctuations of the energies, another.",
            "D is 1.3 times that of the limit's shortest time: far enough from the cliff, where times jump.",
            "Time: after which the mean of the metric over the runs stays below the target. The power is that of a straight line "
            "through the errors that are two standard errors or more from 0, both axes logarithmic.",
        ],
        command=experiment.command(configuration),
        versions=versions("numpy", "scipy", "numba"),
        configuration=json.dumps(configuration),
    )
