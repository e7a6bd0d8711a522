"""The report of an experiment on networks: the sweep, its variants, and which assumption fails where the exponent is not 2/3."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import xarray as xr

from ..baselines import BASELINES, FIXED, KEPT, about, regret_text
from ..estimates import LAW_HEAD, TIME_HEAD, TIME_NOTE, both_exponents, interval, law_rows, number, with_error
from ..experiment import Configuration
from ..report import Picture, Report, Section, Table
from ..store import QUESTIONS_FOLDER, RESULTS, read_dataset, read_sweep
from . import figures
from .course import COMPARED, Course
from .experiment import STARTS, NetworkExperiment
from .plan import EFFECTIVE, RULES, TRANSFER
from .summary import BEST_TEST, EXPONENT, FASTEST, OPTIMA, Summary
from .sweep import COURSE

CAPTIONS = {
    "against_momentum": (
        "Above: time to the target against 1 − β; below: test loss after the budget. To the left there is more momentum. Hollow "
        "points: not all runs arrive, and the time is 1 / (mean speed over the seeds)."
    ),
    "exponent": "The measured optima with their power laws and 95 % bands; on the right divided by lr^(2/3).",
    "courses": "Dashed: the target. More momentum is faster until the runs leave the flat region.",
}
SAFE = 1.15
"""A momentum is safe if, by trials, it takes at most this times the shortest time."""
_INTERPOLATES, _STABLE, _LOSS_AGREES = 0.01, 0.5, 0.15


def findings(summary: Summary) -> list[str]:
    """The findings, a sentence each, failures of the predictions included."""
    lines = []
    for name in summary.optima:
        if summary.at_end(name):
            lines.append(f"{name.capitalize()}: {_no_optimum(summary, name)}")
            continue
        law = summary.laws[name][0]
        verdict = "contains" if summary.contains(name) else "misses"
        lines.append(
            f"{name.capitalize()}: 1 − β = C lr^γ with {both_exponents(summary.laws[name])}. The plain power law's 95 % interval "
            f"{verdict} 2/3; C = {number(law.prefactor.value)} ({interval(law.prefactor)})."
        )
        worst = summary.worst_regret(name, TRANSFER)
        fixed = summary.worst_regret(name, FIXED)
        what = "time" if name == FASTEST else "test loss"
        lines.append(
            f"A momentum tuned at the largest learning rate and moved by lr^(2/3) costs at most {regret_text(worst)} times "
            f"the least {what}; momentum 0.9 at every learning rate {regret_text(fixed)}."
        )
    checked = summary.checked(EFFECTIVE)
    if not np.isnan(checked):
        costs = f"takes {checked:.2f} times the shortest time" if np.isfinite(checked) else "never reaches the target"
        lines.append(
            f"Effective loss: the momentum that it recommends without noise {costs} in the trials of the first look, at the "
            f"largest learning rate: {'safe' if checked <= SAFE else 'not safe'} (at most {SAFE} is). Without a trial it is not "
            "known to be."
        )
    if FASTEST not in summary.optima:
        lines.insert(0, "At some learning rate no run comes to the target: there is no fastest momentum to speak of.")
    accuracy = summary.test_accuracy
    if np.isfinite(accuracy).any() and BEST_TEST in summary.optima:
        best = [float(accuracy[i, int(np.argmin(summary.optima[BEST_TEST].time[i]))].mean()) for i in range(len(summary.lr))]
        start = summary.about["start"]["test_accuracy"]
        lines.append(
            f"Test accuracy after the budget, at the best momentum: {min(best):.3f} to {max(best):.3f}; at the start {start:.3f}."
        )
    return lines


def _no_optimum(summary: Summary, name: str) -> str:
    return (
        f"at {summary.at_end(name)} of {len(summary.lr)} learning rates the best of the sweep is at its end: a bound "
        "and no optimum; no exponent is given."
    )


def checks(summary: Summary) -> list[list[str]]:
    """The theory's assumptions, each with the number that tests it."""
    rows = []
    gone = summary.about["start"]["train_loss"] / summary.about["initialisation"]["train_loss"]
    rows.append(
        ["training starts on Γ", f"train loss {number(gone, 2)} of that of the initialisation", _verdict(gone < _INTERPOLATES)]
    )
    ratio, error = summary.loss_ratio
    if np.isfinite(ratio):
        text = f"train loss over η c tr H / (4δ): {ratio:.2f} ± {error:.2f}, at the least momentum and lr"
        rows.append(["the normal modes fluctuate as the theory says", text, _verdict(abs(ratio - 1) < _LOSS_AGREES + 2 * error)])
    stiff = float(summary.stiffest.max())
    rows.append(["small steps: lr λ_max ≪ 2 (1 + β)", f"at most {number(stiff, 2)} of it", _verdict(stiff < _STABLE)])
    for name in _told(summary):
        local = ", ".join(f"{e.value:.2f}" for e in summary.local_exponents(name))
        rows.append([f"{name}: one exponent throughout", f"between neighbouring lr, from the smallest: {local}", ""])
    for line in summary.estimate.get("failed", []):
        rows.append(["the estimator's own checks", line, "no"])
    return rows


def _told(summary: Summary) -> list[str]:
    """The optima that are within the sweep at every learning rate."""
    return [name for name in summary.optima if not summary.at_end(name)]


def _verdict(holds: bool) -> str:
    return "holds" if holds else "no"


def _why(summary: Summary) -> list[str]:
    """For an exponent whose interval misses 2/3: which assumption fails, by the numbers of this sweep."""
    lines = []
    for name in _told(summary):
        if summary.contains(name):
            continue
        laws = summary.laws[name]
        low = summary.left_out(name)
        smallest = next((e for text, e in low if text.startswith(f"{summary.lr[0]:.3g} to")), None)
        text = f"{name.capitalize()}: the plain power law misses 2/3"
        if laws[0].freedom and laws[0].p_value < 0.05:
            text += f", and it does not fit: χ² = {laws[0].chi2:.1f} for {laws[0].freedom} degrees of freedom"
        if len(laws) > 1:
            gamma = laws[1].exponent
            inside = gamma.low <= EXPONENT <= gamma.high
            text += (
                f". With theory's first correction, exp(a lr^(1/3)), γ = {gamma.value:.2f} ({interval(gamma)}), "
                f"which {'contains' if inside else 'misses too'}{' 2/3: small lr is what fails' if inside else ''}"
            )
        if smallest is not None:
            text += f". The smallest learning rates alone give {smallest.value:.2f} ({smallest.low:.2f} to {smallest.high:.2f})"
        ratio, error = summary.loss_ratio
        if np.isfinite(ratio):
            text += f". The normal modes' loss is {ratio:.2f} ± {error:.2f} of what theory has"
        lines.append(text + f". lr^(1/3) is {np.cbrt(summary.lr[-1]):.2f} at the largest learning rate.")
    return lines


def _measured(summary: Summary, name: str, pictures: Sequence[Picture]) -> Section:
    optima = summary.optima[name]
    fastest = name == FASTEST
    what = "time (steps)" if fastest else "test loss"
    rows = []
    for i, lr in enumerate(summary.lr):
        best = optima.optimum(i)
        cells = [f"{lr:.3g}", number(best.value), interval(best), f"{optima.time[i].min():,.4g}"]
        for method in summary.methods:
            cells += [number(float(summary.recommended(method)[i])), regret_text(summary.regret(name, method, i))]
        rows.append(cells)
    note = (
        f"Regret: {what} at the recommended momentum over the least of the sweep, ± its standard error; “>”: at least; the "
        "rule lies beyond the sweep, or its runs do not arrive in the steps they were given."
    )
    head = ("learning rate", "best 1 − β", "95 %", what, *("1 − β", "regret") * len(summary.methods))
    groups = (("measured", 3), *((method, 2) for method in summary.methods))
    title = (
        "The fastest momentum, and what each rule costs" if fastest else "The momentum of the lowest test loss after the budget"
    )
    return Section(title, table=Table(head, rows, groups, shown=True, drop=("95 %",)), notes=[note], pictures=pictures)


def _exponents(summary: Summary, name: str) -> Section:
    table = Table(LAW_HEAD, law_rows(summary.laws[name], summary.left_out(name)))
    return Section(f"The exponent of the {name}, and how it changes when learning rates are left out", table=table)


def _course(course: Course) -> Section:
    """Predicted against measured courses."""
    rows = []
    for j, delta in enumerate(course.one_minus_beta):
        found = [course.farthest(metric, j) for metric in COMPARED]
        rows.append(
            [number(float(delta)), *(f"{100 * d.value:+.1f} ± {100 * d.standard_error:.1f} %, step {d.step:,}" for d in found)]
        )
    return Section(
        f"The whole course at lr {course.lr:.3g}: predicted by the effective loss, and measured",
        table=Table(("1 − β", "tr H", "test loss"), rows),
        notes=[
            "The largest difference, predicted less measured, over the measured start, ± the standard error of the measured "
            "mean, as long as all runs go on; grey: 15 %. The effective loss leaves out the fluctuations about its path."
        ],
        pictures=[
            Picture(
                "course",
                partial(figures.course, course),
                "Dashed: training on the effective loss, without noise. Bands: 95 % of the mean over the seeds.",
            )
        ],
    )


def _prefactors(summary: Summary) -> Section | None:
    if FASTEST not in summary.optima:
        return None
    best = np.array([summary.optima[FASTEST].optimum(i).value for i in range(len(summary.lr))]) / summary.lr**EXPONENT
    rows = [["measured, over the learning rates", f"{number(best.min())} to {number(best.max())}"]]
    for method in summary.methods:
        value = summary.recommended(method) / summary.lr**EXPONENT
        if np.isfinite(value).all() and np.ptp(value) < 0.05 * value.mean():
            rows.append([method, number(float(value.mean()))])
    return Section("C = (1 − β) / lr^(2/3), predicted and measured", table=Table(("", "C"), rows))


def _baselines(summary: Summary) -> Section:
    rows = [
        [name, about(name), *(regret_text(summary.worst_regret(kind, name)) for kind in summary.optima)]
        for name in (KEPT, *BASELINES)
    ]
    head = ("momentum", "", *(f"{kind}: largest regret" for kind in summary.optima))
    return Section("A tuned momentum that is kept, and those that people use without any measurement", table=Table(head, rows))


def _times(summary: Summary) -> Section:
    """The shortest time as a power of lr."""
    edge = summary.at_end(FASTEST)
    bound = f" At {edge} of the learning rates the fastest momentum is at an end of the sweep: its time is an upper bound."
    return Section(
        "The time at the fastest momentum, as a power of lr",
        table=Table(TIME_HEAD, law_rows(summary.time_laws, ())),
        notes=[TIME_NOTE + bound * bool(edge)],
    )


def _test_metrics(summary: Summary) -> Section:
    """Test metrics at the fastest and at the least momentum."""
    rows = [
        [name, *(with_error(each[which].value, each[which].standard_error) for which in ("fastest", "least", "difference"))]
        for name, each in summary.test_metrics.items()
    ]
    over, largest = summary.over_fastest, number(float(summary.one_minus_beta.max()))
    note = (
        f"After the budget, means over the learning rates; ± from the seeds. The least momentum has {over.min():.2g} to "
        f"{over.max():.2g} times the 1 − β of the fastest, at most {largest}: no run is without momentum, and those of the least "
        "are less far along Γ after as many steps."
    )
    head = ("", "fastest momentum", "least momentum", "difference")
    return Section("Test metrics at the fastest and at the least momentum of the sweep", table=Table(head, rows), notes=[note])


def _question(experiment: NetworkExperiment, name: str, main: Summary, summary: Summary | None) -> Section:
    """The section on a variant, compared with the main sweep; None: it could not be run."""
    title = f"Variant: {experiment.every_question[name][0]}"
    if summary is None:
        return Section(title, notes=["Not answered: its runs diverge at these learning rates, or were not made."])
    rows = []
    for i, lr in enumerate(summary.lr):
        cells = [f"{lr:.3g}"]
        for kind in OPTIMA:
            if kind not in summary.optima:
                cells += ["–", "–", "–"]
                continue
            best = summary.optima[kind].optimum(i)
            j = int(np.flatnonzero(main.lr == lr)[0])
            plain = main.optima[kind].optimum(j).value if kind in main.optima else np.nan
            cells += [number(best.value), interval(best), f"{best.value / plain:.2f}" if np.isfinite(plain) else "–"]
        rows.append(cells)
    head = ("learning rate", *("1 − β", "95 %", "over the main sweep's") * 2)
    return Section(title, table=Table(head, rows, [(kind, 3) for kind in OPTIMA]), notes=_answer(summary))


def _answer(summary: Summary) -> list[str]:
    """The findings of a variant, in sentences."""
    notes = []
    for kind in summary.optima:
        if summary.at_end(kind):
            notes.append(f"{kind.capitalize()}: {_no_optimum(summary, kind)}")
            continue
        law = summary.laws[kind][0]
        worst = regret_text(summary.worst_regret(kind, TRANSFER))
        notes.append(
            f"{kind.capitalize()}: γ = {law.exponent.value:.2f} ({interval(law.exponent)}); moved by lr^(2/3) from "
            f"its own largest learning rate: regret {worst} at most."
        )
    if FASTEST not in summary.optima:
        notes.append("At some learning rate no run comes to the target within the sweep.")
    c = summary.configuration
    notes.append(
        f"Start: {STARTS[c['start']]}; batch {c['batch_size'] or 'full'}; label noise {c['label_noise']:g}; "
        f"weight decay {c['weight_decay']:g}; {'Nesterov' if c['nesterov'] else 'heavy ball'}; {c['n_seeds']} seeds."
    )
    if c["label_noise"] == 0:
        notes.append(
            "Without label noise nothing moves along Γ once all samples are fitted; what is timed is the fit itself: until "
            "the train loss stays below a hundredth of its start."
        )
    return notes


@dataclass(frozen=True)
class Results:
    """The main sweep, those of the variants that were run, by name, and the predicted course, if there is one."""

    main: xr.Dataset
    asked: Mapping[str, xr.Dataset]
    course: xr.Dataset | None = None


def read(folder: Path) -> Results:
    """The results in a folder."""
    main = read_sweep(folder)
    names = json.loads(main.attrs["configuration"])["questions"]
    folders = {name: folder / QUESTIONS_FOLDER / name for name in names}
    asked = {name: read_sweep(path) for name, path in folders.items() if (path / RESULTS).exists()}
    return Results(main, asked, read_dataset(folder / COURSE) if (folder / COURSE).exists() else None)


def report(experiment: NetworkExperiment, results: Results) -> Report:
    """Both optima, their exponents, the regret of each rule, the theory's assumptions, and the variants."""
    summary = Summary(results.main)
    pictures = [Picture(name, partial(getattr(figures, name), summary), caption) for name, caption in CAPTIONS.items()]
    sections = [_measured(summary, name, () if i else pictures) for i, name in enumerate(summary.optima)]
    sections += [_exponents(summary, name) for name in _told(summary)]
    course = None if results.course is None else Course(results.course, results.main)
    sections += [] if course is None else [_course(course)]
    prefactors = _prefactors(summary)
    sections += [prefactors] if prefactors else []
    sections += [_baselines(summary)] if summary.optima else []
    sections += [_times(summary)] if FASTEST in summary.optima else []
    sections += [_test_metrics(summary)] if summary.test_metrics else []
    ground = Table(("assumption", "measured", ""), checks(summary))
    sections.append(Section("Is the theory's ground there?", findings=_why(summary), table=ground))
    for name in summary.configuration["questions"]:
        answer = Summary(results.asked[name]) if name in results.asked else None
        sections.append(_question(experiment, name, summary, answer))
    c = summary.configuration
    rates = f"{len(summary.lr)} learning rates from {summary.lr[0]:.3g} to {summary.lr[-1]:.3g}"
    return Report(
        title=experiment.title,
        subtitle=f"profile {c['profile']}: {rates}, {summary.data.sizes['momentum']} momenta, {c['n_seeds']} seeds",
        summary={**summary.to_dict(), **({} if course is None else {"course": course.to_dict()})},
        findings=findings(summary),
        sections=sections,
        how=_how(experiment, summary),
        command=_command(experiment, summary),
        versions=json.loads(results.main.attrs["versions"]),
        configuration=results.main.attrs["configuration"],
    )


def _command(experiment: NetworkExperiment, summary: Summary) -> str:
    """The command that reproduces it; where the images came from a folder named in the environment, that folder too."""
    words = experiment.command(summary.configuration)
    own_images = "images" in summary.configuration and "digits" not in summary.data.attrs["source"]
    return f"{words} --data DIR" if own_images and "--data" not in words else words


def _fit(configuration: Configuration) -> str:
    """How phase 1 fits, in words."""
    steps = configuration.get("sgd_fit", 0)
    return f"SGD without label noise, {steps:,} steps with a falling learning rate," if steps else "L-BFGS in double precision"


def _how(experiment: NetworkExperiment, summary: Summary) -> list[str]:
    c, measured = summary.configuration, summary.about
    point = measured["interpolating"]
    return [
        *experiment.describe(c),
        f"Data: {summary.data.attrs['source']}.",
        f"Start: {STARTS[c['start']]}. {_fit(c)} leads from the initialisation to an interpolating point of "
        f"loss {measured['fit_excess']:.1e} above the least and tr H = {point['trace_hessian']:.4g} "
        f"({measured['initialisation']['trace_hessian']:.4g} at the initialisation). Largest eigenvalues of H there: "
        f"{', '.join(f'{x:.3g}' for x in point['eigenvalues'])}.",
        f"{'Nesterov' if c['nesterov'] else 'Heavy ball'}, batch {c['batch_size'] or 'full'}, weight decay "
        f"{c['weight_decay']:g}.",
        f"Time of a run: after which tr H stays below {c['fraction']:g} of its value at the interpolating point. A run ends when "
        "it has stayed there for 0.6 of the time that it took. Time of a momentum: 1 / (mean of 1 / time over the seeds).",
        "Budget of the test metric, for each lr: "
        + ", ".join(f"{steps:,}" for steps in summary.data["budget"].values)
        + " steps"
        + ("." if c["budget"] else ": the shortest time to the target that the first look expects."),
        "Best 1 − β: the lowest point of a cubic through ln time against ln(1 − β) near the minimum, weighted by the standard "
        "errors. Intervals: 95 %, from 1,000 resamples of the seeds, which all learning rates and momenta share.",
        *[f"{name}: {RULES[name]}." for name in summary.methods],
    ]
