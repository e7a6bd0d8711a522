"""The report: the best momentum by learning rate, its power of lr, and the points of accuracy that each rule loses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sde_momentum.figures.style import BLACK, LINES, STYLE

from ..drawing import one_legend, plt
from ..estimates import LAW_HEAD, both_exponents, law_rows, plain_law
from ..experiment import Experiment
from ..report import Picture, Report, Section, Table
from ..store import versions
from .optimum import FOLK, TUNED, Sweep

Cell = dict[str, Any]
"""The results of one kind of training at one lr and seed, as `Training.run` gives them."""

_LOG_LOSS = -10.0
"""Score of a training loss: this times its logarithm, so that the parabola's points lie within 26 % of the least."""
_LEAST_LOSS = 1e-6
"""Below which all losses count as equal."""
_LAW_NOTE = "χ²: of the mean over the seeds, with the errors of all learning rates pooled; so few seeds make it rather too large."


def sweeps(results: Sequence[Cell], measure: str = "accuracy") -> dict[str, Sweep]:
    """Kind of training -> its scores: mean test accuracy over the last fifth; or by "loss", -10 ln of the training loss there."""
    found = {}
    for arm in dict.fromkeys(cell["arm"] for cell in results):
        cells = [cell for cell in results if cell["arm"] == arm]
        rates = list(dict.fromkeys(cell["lr"] for cell in cells))
        score = [np.array([_score(cell, measure) for cell in cells if cell["lr"] == lr]).T for lr in rates]
        found[arm] = Sweep(np.array(rates), np.array(cells[0]["one_minus_beta"]), np.array(score))
    return found


def _score(cell: Cell, measure: str) -> list[float]:
    if measure == "accuracy":
        return [float(np.mean(row)) for row in cell["accuracy"]]
    worst = max(x for x in cell["loss"] if x is not None)
    return [_LOG_LOSS * float(np.log(max(worst if x is None else x, _LEAST_LOSS))) for x in cell["loss"]]


def summary(results: Sequence[Cell]) -> dict[str, Any]:
    """Kind of training -> lr, best 1 - beta and its accuracy, power laws by accuracy and by training loss, and points lost by
    each rule."""
    by_loss = sweeps(results, "loss")
    found: dict[str, Any] = {}
    for arm, sweep in sweeps(results).items():
        optima = sweep.optima()[0]
        found[arm] = {
            "lr": sweep.lr.tolist(),
            "best": optima.tolist(),
            "accuracy": [float(row.mean(1).max()) for row in sweep.score],
            "fits": [plain_law(law) for law in sweep.laws()],
            "fits_of_training_loss": [plain_law(law) for law in by_loss[arm].laws()],
            "lost": {name: {"points": lost.tolist(), "se": se.tolist()} for name, (lost, se) in sweep.lost().items()},
        }
    return found


def _exponent(fits: Sequence[dict[str, Any]]) -> str:
    """That of the plain power law."""
    gamma = fits[0]["exponent"]
    return f"{gamma['value']:.2f} ({gamma['low']:.2f} to {gamma['high']:.2f})"


def _best_table(found: dict[str, Any]) -> Table:
    first = next(iter(found.values()))
    head = ["training", *(f"lr {lr:g}" for lr in first["lr"]), "exponent of lr", "the same, training loss"]
    rows = [
        [
            arm,
            *(f"{delta:.2g}" for delta in one["best"]),
            _exponent(one["fits"]),
            _exponent(one["fits_of_training_loss"]),
        ]
        for arm, one in found.items()
    ]
    return Table(head, rows, shown=True, drop=[head[-1], *head[2:-3]])


def _lost_table(found: dict[str, Any]) -> Table:
    first = next(iter(found.values()))
    rows = [
        [arm, rule, *(f"{lost:.1f} ± {se:.1f}" for lost, se in zip(each["points"], each["se"], strict=True))]
        for arm, one in found.items()
        for rule, each in one["lost"].items()
    ]
    rates = [f"lr {lr:g}" for lr in first["lr"]]
    return Table(["training", "1 - beta", *rates], rows, shown=True, drop=rates[:-1])  # at the largest lr rules are tuned


def _findings(found: dict[str, Any], every: dict[str, Sweep]) -> list[str]:
    """What each kind of training says of 2/3, and the largest loss of each rule."""
    lines = []
    for arm, one in found.items():
        laws = every[arm].laws()
        gamma = laws[0].exponent
        named = [
            f"{name} {'inside' if gamma.low <= power <= gamma.high else 'outside'}"
            for name, power in (("2/3", 2 / 3), ("1", 1.0))
        ]
        lines.append(f"{arm}: {both_exponents(laws)}. The plain power law's interval: {', '.join(named)}.")
        worst = [f"{name} {max(one['lost'][name]['points']):.1f}" for name in (*TUNED, *FOLK)]
        lines.append(f"{arm}: largest loss of each rule, in points: {', '.join(worst)}.")
    return lines


def picture(every: dict[str, Sweep]) -> Figure:
    """Accuracy against 1 - beta, a panel for each kind of training, a line for each lr, bars of one standard error."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(every), figsize=(4.4 * len(every), 4.2), squeeze=False, sharey=True)
        for axis, (arm, sweep) in zip(axes[0], every.items(), strict=True):
            error = sweep.score.std(2, ddof=1) / np.sqrt(sweep.score.shape[2])
            tops = sweep.optima()[0]
            for colour, lr, row, bar, top in zip(LINES, sweep.lr, sweep.score.mean(2), error, tops, strict=False):
                axis.errorbar(sweep.one_minus_beta, row, bar, fmt="o-", ms=4, lw=1.2, color=colour, label=f"lr {lr:g}")
                axis.axvline(top, color=colour, lw=1, ls=":", zorder=0)
            axis.set(xscale="log", title=arm, xlabel=r"$1-\beta$")
        best = max(float(sweep.score.mean(2).max()) for sweep in every.values())
        axes[0][0].set_ylim(best - 20, best + 2)
        axes[0][0].set_ylabel("test accuracy, %")
        axes[0][0].plot([], [], color=BLACK, lw=1, ls=":", label="best")
        one_legend(figure, axes[0], ncols=len(LINES))
    return figure


def report(experiment: Experiment, results: dict[str, Any]) -> Report:
    """Best momenta with their exponent, and the points lost."""
    cells, configuration = results["results"], results["configuration"]
    found, every = summary(cells), sweeps(cells)
    n_seeds = sum(cell["arm"] == cells[0]["arm"] and cell["lr"] == cells[0]["lr"] for cell in cells)
    return Report(
        title=experiment.title,
        subtitle=f"profile {configuration['profile']}, seed {configuration['seed']}; {n_seeds} seeds; ± is one standard error",
        summary={"summary": found},
        findings=_findings(found, every),
        sections=[
            Section(
                "Best 1 - beta by learning rate",
                table=_best_table(found),
                notes=[
                    "Exponent: of the plain power law fitted to each seed; mean over the seeds and 95 % interval by Student's t."
                ],
                pictures=[Picture("accuracy", partial(picture, every), "Test accuracy; bars: one standard error.")],
            ),
            *(
                Section(f"The exponent: {arm}", table=Table(LAW_HEAD, law_rows(sweep.laws(), ())), notes=[_LAW_NOTE])
                for arm, sweep in every.items()
            ),
            Section(
                "Points of accuracy lost by each rule",
                table=_lost_table(found),
                notes=[
                    "The first four rules take the momentum tuned at the largest lr elsewhere. Each seed is compared with the "
                    "best momentum of the other seeds, from which the rule is tuned too: chance may make a loss negative."
                ],
            ),
        ],
        how=[
            f"{cells[0]['source']}; a network of two convolutions with batch norm, cross-entropy, weight decay 5e-4, crops and "
            f"flips, {cells[0]['steps']} steps.",
            "Accuracy on test images, mean of five times in the last fifth of the training. The best 1 - beta is the top of a "
            "parabola in its logarithm through the best of the grid and two neighbours on each side.",
        ],
        command=_command(experiment, configuration, cells[0]["source"]),
        versions=versions("numpy", "scipy", "torch"),
        configuration=json.dumps(configuration),
    )


def _command(experiment: Experiment, configuration: dict[str, Any], source: str) -> str:
    """The command that reproduces it; where the images came from a folder named in the environment, that folder too."""
    words = experiment.command(configuration)
    return words if "--data" in words or "digits" in source else f"{words} --data DIR"
