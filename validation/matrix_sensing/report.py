"""The report of the sweep on matrix sensing."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sde_momentum.predictors.measured_optimum import N_RESAMPLES

from ..baselines import about, regret_text
from ..estimates import LAW_HEAD, TIME_HEAD, TIME_NOTE, both_exponents, interval, law_rows, number, percent
from ..experiment import Experiment
from ..report import Picture, Report, Section, Table
from ..store import read_sweep
from . import figures
from .summary import CLOSED_FORM, EFFECTIVE_LOSS, MEASURED, METHODS, TRANSFER, WAYS, Summary

CAPTIONS = {
    "time_against_momentum": (
        "Time to the target against 1 − β, a panel for each learning rate. To the left of the recommendation (grey) there is "
        "more momentum: L_eff keeps promising shorter times there, but the energies of the normal modes fluctuate, runs leave "
        "the flat region, and the measured time climbs: the cliff. To the right, too little momentum: the drift is slow."
    ),
    "collapse": "The same in the units of the theory. To the right of the optimum all learning rates fall on one curve.",
    "exponent": "The best 1 − β of each learning rate with the fit and its 95 % band; on the right divided by lr^(2/3).",
}


def _predicted(summary: Summary) -> Table:
    """Measured and recommended 1 - beta at each learning rate, and the regrets of the recommendations."""
    rows = []
    predicted = {method: summary.predicted(method) for method in METHODS}
    for i, lr in enumerate(summary.lr):
        best = summary.optima.optimum(i)
        row = [f"{lr:.3g}", number(best.value), interval(best), f"{summary.optima.time[i].min():,.0f}"]
        for method in METHODS:
            value = float(predicted[method][i])
            row += [number(value), regret_text(summary.regret(method, i), 3)]
        rows.append(row)
    head = ("learning rate", "best 1 − β", "95 %", "time (steps)", *("1 − β", "regret") * len(METHODS))
    groups = (("measured", 3), *((method, 2) for method in METHODS))
    return Table(head, rows, groups, shown=True, drop=(MEASURED, TRANSFER, "95 %", CLOSED_FORM, "time (steps)"))


def _ways(summary: Summary) -> Section:
    """Largest regrets of a tuned momentum, moved or kept, and of fixed ones."""
    rows = [[way, about(way), regret_text(summary.worst_regret(way), 3)] for way in WAYS]
    table = Table(("momentum", "", "largest regret"), rows)
    return Section("A tuned momentum moved or kept, and those that people use without any measurement", table=table)


def findings(summary: Summary) -> list[str]:
    """The findings, a sentence each, failures of the predictions included."""
    gamma, worst = summary.law.exponent, summary.worst_time_ratio()
    contains = "contains" if gamma.low <= 2 / 3 <= gamma.high else "misses"
    cliff = max(summary.cliff())
    slower = (
        f"training takes up to {cliff:.1f} times as long as at the best" if np.isfinite(cliff) else "no run may arrive at all"
    )
    lines = []
    for method in (EFFECTIVE_LOSS, CLOSED_FORM):
        regret, at_least = summary.worst_regret(method)
        costs = f"{percent(regret.value - 1)} (± {percent(regret.standard_error)})"
        bound = "more than" if at_least else "at most"
        lines.append(f"The momentum recommended by the {method} costs {bound} {costs} more time than the best of the sweep.")
    return [
        f"Exponent: {both_exponents(summary.laws)}. The last interval {contains} 2/3.",
        f"Shortest time, as lr^γ: {both_exponents(summary.time_laws)}. Theory has −2/3.",
        *lines,
        f"From the recommendation upwards in 1 − β, predicted and measured times agree within "
        f"{percent(abs(worst['ratio'] - 1))} (standard error there {percent(worst['standard_error'])}).",
        f"The cliff: at {summary.least_ratio:.2f} of the recommended 1 − β {slower}.",
    ]


def _exponent_note(summary: Summary) -> str:
    law = summary.law
    shift = percent(np.expm1(sum(a.value * summary.lr[-1] ** ((i + 1) / 3) for i, a in enumerate(law.corrections))))
    return (
        "Theory has γ = 2/3 in the limit of small learning rates, with corrections in powers of lr^(1/3). The last of the fits "
        f"to all learning rates has them up to lr^({len(law.corrections)}/3): at the largest learning rate they move the best "
        f"1 − β by {shift}. A fit without them finds a larger exponent, the more so the larger the learning rates it is given, "
        "as the lower rows show. Two corrections were chosen after a first full run, in which one was too few. χ² tells "
        "how well a fit follows the optima, and p how often a true law would fit worse."
    )


def _how(summary: Summary, c: dict[str, Any]) -> list[str]:
    of = summary.data.attrs
    kind = "Nesterov" if c["nesterov"] else "heavy ball"
    return [
        f"Matrix sensing: a {c['d']} x {c['d']} matrix of rank {c['rank']} from {c['n_measurements']} Gaussian measurements, two "
        "factors of full width.",
        f"Every run starts from the same interpolating point, of tr H = {of['trace_hessian_start']:.4g}; the flattest point "
        f"that the drift leads to has {of['trace_hessian_flattest']:.4g}.",
        f"Label noise {c['label_noise']} at every step, full batch, {kind}.",
        f"Time of a run: after which {c['metric'].replace('_', ' ')} stays below {c['fraction']} of its start. Time of a "
        f"momentum: 1 / (mean of 1 / time over {c['n_seeds']} seeds); a run that misses the target counts as 1 / time = 0.",
        "Best 1 − β: the lowest point of a cubic through ln time against ln(1 − β) near the minimum, weighted by the standard "
        "errors.",
        f"Intervals: 95 %, from {N_RESAMPLES:,} resamples of the seeds, which all learning rates and momenta share.",
        f"Closed form: c = {of['noise']:.4g}, mu = {of['curvature']:.4g} (what the displacement from the flattest point feels), "
        f"target amplitude {of['amplitude']:.3g}.",
        "The simulator’s update is torch.optim.SGD’s: one run repeated there on the same noise differs by at most "
        f"{of['torch_difference']:.1e} (relative).",
    ]


def read(folder: Path) -> xr.Dataset:
    """The Dataset of a sweep."""
    return read_sweep(folder)


def report(experiment: Experiment, results: xr.Dataset) -> Report:
    """Best momentum of each learning rate, predicted and measured, and the exponent."""
    summary = Summary(results)
    attributes = summary.data.attrs
    configuration = json.loads(attributes["configuration"])
    rates = f"{len(summary.lr)} learning rates from {summary.lr[0]:.3g} to {summary.lr[-1]:.3g}"
    sizes = f"{summary.data.sizes['momentum']} momenta, {summary.data.sizes['seed']} seeds"
    pictures = [Picture(name, partial(getattr(figures, name), summary), caption) for name, caption in CAPTIONS.items()]
    among = [(f"only lr from {low:.3g} to {high:.3g}", gamma) for low, high, gamma in summary.exponent_between()]
    regret = (
        "Regret: the time at the recommended momentum over the shortest of the sweep, ± its standard error; interpolated between "
        "the momenta of the sweep; “>”: at least; the momentum lies beyond the sweep, or its runs do not arrive in their steps."
    )
    return Report(
        title=experiment.title,
        subtitle=f"profile {configuration['profile']}: {rates}, {sizes}",
        summary=summary.to_dict(),
        findings=findings(summary),
        sections=[
            Section(
                "Predicted against measured",
                table=_predicted(summary),
                notes=[regret, *((f"{name}:", about) for name, about in METHODS.items())],
                pictures=pictures,
            ),
            _ways(summary),
            Section("The exponent", table=Table(LAW_HEAD, law_rows(summary.laws, among)), notes=[_exponent_note(summary)]),
            Section(
                "The time at the best momentum, as a power of lr",
                table=Table(TIME_HEAD, law_rows(summary.time_laws, ())),
                notes=[TIME_NOTE],
            ),
        ],
        how=_how(summary, configuration),
        command=attributes["command"],
        versions=json.loads(attributes["versions"]),
        configuration=attributes["configuration"],
    )
