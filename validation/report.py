"""The report of a sweep: one self-contained page, and the same table for the terminal."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from rich.table import Table

from sde_momentum.core.files import write_whole
from sde_momentum.predictors.measured_optimum import N_RESAMPLES, Estimate

from .summary import CLOSED_FORM, EFFECTIVE_LOSS, METHODS, Summary

CAPTIONS = {
    "time_against_momentum": (
        "Time to the target against 1 − β, a panel for each learning rate. To the left of the recommendation (grey) there is "
        "more momentum: L_eff keeps promising shorter times there, but the energies of the normal modes fluctuate, runs leave "
        "the flat region, and the measured time climbs: the cliff. To the right, too little momentum: the drift is slow."
    ),
    "collapse": "The same in the units of the theory. To the right of the optimum all learning rates fall on one curve.",
    "exponent": "The best 1 − β of each learning rate with the fit and its 95 % band; on the right divided by lr^(2/3).",
}


def _number(value: float) -> str:
    return f"{value:.3g}" if value == value else "–"


def _interval(estimate: Estimate) -> str:
    return f"{_number(estimate.low)} to {_number(estimate.high)}"


def _regret(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ± {estimate.standard_error:.3f}" if estimate.value == estimate.value else "–"


def _rows(summary: Summary) -> list[dict[str, Any]]:
    rows = []
    predicted = {method: summary.predicted(method) for method in METHODS}
    for i, lr in enumerate(summary.lr):
        best = summary.optima.optimum(i)
        cells = [_number(best.value), _interval(best), f"{summary.optima.time[i].min():,.0f}"]
        for method in METHODS:
            value = float(predicted[method][i])
            cells += [_number(value), _regret(summary.optima.regret(i, value))]
        rows.append({"lr": f"{lr:.3g}", "cells": cells})
    return rows


def _fits(summary: Summary) -> list[list[str]]:
    names = ("C lr^γ", "C lr^γ exp(a₁ lr^(1/3))", "C lr^γ exp(a₁ lr^(1/3) + a₂ lr^(2/3))")
    rows = []
    for name, law in zip(names, summary.laws, strict=False):
        fit = f"{law.chi2:.1f} / {law.freedom} (p = {law.p_value:.2g})" if law.freedom else "–"
        rows.append([name, *_exponent(law.exponent), _number(law.prefactor.value), _interval(law.prefactor), fit])
    for low, high, gamma in summary.exponent_between():
        rows.append([f"C lr^γ, only lr from {low:.3g} to {high:.3g}", *_exponent(gamma), "", "", ""])
    return rows


def _exponent(gamma: Estimate) -> tuple[str, str]:
    return f"{gamma.value:.3f} ± {gamma.standard_error:.3f}", f"{gamma.low:.3f} to {gamma.high:.3f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def findings(summary: Summary) -> list[str]:
    """What was found, a sentence each, misses included."""
    gamma, worst = summary.law.exponent, summary.worst_time_ratio()
    contains = "contains" if gamma.low <= 2 / 3 <= gamma.high else "misses"
    cliff = max(summary.cliff())
    slower = (
        f"training takes up to {cliff:.1f} times as long as at the best" if np.isfinite(cliff) else "no run may arrive at all"
    )
    lines = []
    for method in (EFFECTIVE_LOSS, CLOSED_FORM):
        regret = summary.worst_regret(method)
        if np.isnan(regret.value):
            lines.append(f"The momentum recommended by the {method} lies outside the sweep at some learning rate.")
            continue
        costs = f"{_percent(regret.value - 1)} (± {_percent(regret.standard_error)})"
        lines.append(f"The momentum recommended by the {method} costs at most {costs} more time than the best of the sweep.")
    return [
        *lines,
        f"From the recommendation upwards in 1 − β, predicted and measured times agree within "
        f"{_percent(abs(worst['ratio'] - 1))} (standard error there {_percent(worst['standard_error'])}).",
        f"Exponent γ = {gamma.value:.3f}, 95 % interval {gamma.low:.3f} to {gamma.high:.3f} "
        f"(half-width {gamma.half_width:.3f}): it {contains} 2/3.",
        f"The cliff: at {summary.least_ratio:.2f} of the recommended 1 − β {slower}.",
    ]


def _exponent_note(summary: Summary) -> str:
    law = summary.law
    shift = _percent(np.expm1(sum(a.value * summary.lr[-1] ** ((i + 1) / 3) for i, a in enumerate(law.corrections))))
    return (
        "Theory has γ = 2/3 in the limit of small learning rates, with corrections in powers of lr^(1/3). The last of the fits "
        f"to all learning rates has them up to lr^({len(law.corrections)}/3): at the largest learning rate they move the best "
        f"1 − β by {shift}. A fit without them finds a larger exponent, the more so the larger the learning rates it is given, "
        "as the lower rows show. Two corrections were settled on when a first full run had shown that one is too few. χ² tells "
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
        f"momentum: 1 / (mean of 1 / time over {c['n_seeds']} seeds); a run that never arrives counts as speed 0.",
        "Best 1 − β: the lowest point of a cubic through ln time against ln(1 − β) near the minimum, weighted by the standard "
        "errors.",
        f"Intervals: 95 %, from {N_RESAMPLES:,} resamples of the seeds, which all learning rates and momenta share.",
        f"Closed form: c = {of['noise']:.4g}, mu = {of['curvature']:.4g} (what the displacement from the flattest point feels), "
        f"target amplitude {of['amplitude']:.3g}.",
        "The simulator’s update is torch.optim.SGD’s: one run repeated there on the same noise differs by at most "
        f"{of['torch_difference']:.1e} (relative).",
    ]


def write_report(summary: Summary, figures: dict[str, Path], path: Path) -> None:
    """Write the page, figures included, whole or not at all."""
    configuration = json.loads(summary.data.attrs["configuration"])
    environment = jinja2.Environment(loader=jinja2.PackageLoader("validation"), autoescape=True, undefined=jinja2.StrictUndefined)
    rates = f"{len(summary.lr)} learning rates from {summary.lr[0]:.3g} to {summary.lr[-1]:.3g}"
    sizes = f"{summary.data.sizes['momentum']} momenta, {summary.data.sizes['seed']} seeds"
    page = environment.get_template("matrix_sensing.html.j2").render(
        title="Matrix sensing: the best momentum, predicted and measured",
        subtitle=f"profile {configuration['profile']}: {rates}, {sizes}",
        findings=findings(summary),
        methods=METHODS,
        rows=_rows(summary),
        figures=[
            {"data": base64.b64encode(file.read_bytes()).decode(), "caption": CAPTIONS[name], "alt": name.replace("_", " ")}
            for name, file in figures.items()
        ],
        fits=_fits(summary),
        exponent_note=_exponent_note(summary),
        how=_how(summary, configuration),
        command=summary.data.attrs["command"],
        versions=", ".join(f"{name} {number}" for name, number in json.loads(summary.data.attrs["versions"]).items()),
        configuration=summary.data.attrs["configuration"],
    )
    write_whole(path, lambda file: file.write(page.encode()))


def table(summary: Summary) -> Table:
    """Predicted against measured, for the terminal."""
    out = Table(title="best 1 - beta: measured, recommended, and the regret of each recommendation", title_justify="left")
    for name in ("lr", "measured", "95 %", "time (steps)"):
        out.add_column(name, justify="right", no_wrap=True)
    for method in METHODS:
        out.add_column(method, justify="right")
    for row in _rows(summary):
        cells = row["cells"]
        pairs = [f"{value}\n{regret}" for value, regret in zip(cells[3::2], cells[4::2], strict=True)]
        out.add_row(row["lr"], *cells[:3], *pairs)
    return out
