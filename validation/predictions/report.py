"""The report: regret and predicted time of the default answer on each problem and at each learning rate."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from sde_momentum.predictors.measured_optimum import PowerLaw

from ..estimates import LAW_HEAD, fitted_laws, law_rows
from ..experiment import Experiment
from ..report import Report, Section, Table
from ..store import versions
from .measure import CARRIED, DEFAULT, THEORY
from .sweep import HORIZON, LONGEST, REGRET_ERROR, SETTLED, STEP

Cell = dict[str, Any]
"""The results of one learning rate of one case, as `measure` gives them."""

GOAL, WRONG = 1.05, 1.15
"""Regret that the default answer is to have at most, and above which an answer called safe was wrong."""
TIME_GOAL = 0.05
"""Error of the predicted time that is allowed beside two standard errors."""


def summary(results: Sequence[Cell]) -> list[dict[str, Any]]:
    """One row for each case and kind of answer: the worst regret and time over its learning rates, and the slowest call.

    Kinds: "default"; "carried", the default answer far below the learning rates of its trials; "theory".
    """
    rows = []
    for kind, cells in _kinds(results).items():
        for name in dict.fromkeys(cell["case"] for cell in cells):
            mine = [cell for cell in cells if cell["case"] == name]
            worst = max(mine, key=lambda cell: _regret(_answer(cell, kind)))
            ratios = [(ratio, cell["lr"]) for cell in mine if (ratio := _ratio(_answer(cell, kind))) is not None]
            ratio, ratio_at = max(ratios, key=lambda pair: abs(np.log(pair[0])), default=(None, None))
            rows.append(
                {
                    "case": name,
                    "kind": kind,
                    "unseen": mine[0]["unseen"],
                    "lr": [cell["lr"] for cell in mine],
                    "regret": _plain(_regret(_answer(worst, kind))),
                    "regret_se": _answer(worst, kind).get("regret_se"),
                    "regret_at": worst["lr"],
                    "largest_regret_se": max((_answer(cell, kind).get("regret_se") or 0.0 for cell in mine), default=0.0),
                    "time_ratio": ratio,
                    "time_ratio_at": ratio_at,
                    "seconds": max(_answer(cell, kind)["seconds"] for cell in mine),
                    "safe": sum(bool(_answer(cell, kind).get("safe")) for cell in mine),
                }
            )
    return rows


def _kinds(results: Sequence[Cell]) -> dict[str, list[Cell]]:
    """Kind of answer -> its cells; kinds that nobody asked for are left out."""
    kinds = {
        DEFAULT: [cell for cell in results if cell["smallest_trial_lr"] is None],
        "carried": [cell for cell in results if cell["smallest_trial_lr"] is not None],
        THEORY: [cell for cell in results if THEORY in cell["answers"]],
    }
    return {kind: cells for kind, cells in kinds.items() if cells}


def _answer(cell: Cell, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = cell["answers"][THEORY if kind == THEORY else DEFAULT]
    return found


def _refused_rightly(cell: Cell, kind: str) -> bool:
    """A target that no momentum of the sweep met was refused."""
    return "refused" in _answer(cell, kind) and cell["fastest"] is None


def _regret(answer: dict[str, Any]) -> float:
    """Infinite where the target is not met, or no answer was given."""
    regret = answer.get("regret")
    return np.inf if regret is None else float(regret)


def _plain(x: float) -> float | None:
    return x if np.isfinite(x) else None


def _ratio(answer: dict[str, Any]) -> float | None:
    """Predicted over measured steps."""
    predicted, measured = answer.get("time"), answer.get("measured_time")
    return predicted / measured if predicted and measured else None


def _ratio_error(answer: dict[str, Any]) -> float:
    """Standard error of the logarithm of the ratio; prediction and measurement are independent."""
    errors = (answer.get("time_se") or 0) / answer["time"], (answer.get("measured_time_se") or 0) / answer["measured_time"]
    return float(np.hypot(*errors))


def in_time(answer: dict[str, Any]) -> bool:
    """Whether the predicted steps are within 5 %, or two standard errors, of those measured."""
    ratio = _ratio(answer)
    return ratio is not None and abs(np.log(ratio)) <= max(np.log1p(TIME_GOAL), 2 * _ratio_error(answer))


def good(answer: dict[str, Any]) -> bool:
    """Whether the regret is at most 1.05, within one standard error."""
    return _regret(answer) - (answer.get("regret_se") or 0) <= GOAL


def wrong(answer: dict[str, Any]) -> bool:
    """Whether an answer that is called safe has a regret above 1.15."""
    return bool(answer.get("safe")) and not _regret(answer) <= WRONG


def exponents(results: Sequence[Cell]) -> dict[str, list[PowerLaw]]:
    """Case -> power laws of its fastest 1 - beta in lr, of the cases where two learning rates or more have one."""
    found: dict[str, dict[float, float]] = {}
    for cell in results:
        if cell["fastest"] is not None and cell["smallest_trial_lr"] is None:
            found.setdefault(cell["case"], {})[cell["lr"]] = cell["fastest"]
    return {
        case: fitted_laws(np.array(list(at)), np.array(list(at.values())), np.full(len(at), STEP))
        for case, at in found.items()
        if len(at) > 1
    }


# -- text ----------------------------------------------------------------------------------------


def _with_error(value: float | None, error: float | None, form: str) -> str:
    if value is None:
        return "–"
    return f"{value:{form}}" + ("" if error is None else f" ± {error:{form}}")


def _regret_text(answer: dict[str, Any]) -> str:
    if "refused" in answer:
        return "no answer"
    return "target missed" if answer["regret"] is None else _with_error(answer["regret"], answer["regret_se"], ".3f")


def _number(x: float | None, form: str = ".3g") -> str:
    return "–" if x is None else f"{x:{form}}"


def _worst_table(rows: Sequence[dict[str, Any]]) -> Table:
    called = "called safe", "longest call, s"
    head = ("problem", "lr", "largest regret", "regret at lr", "predicted / measured steps", "steps at lr", *called)
    cells = [
        [
            row["case"] + ("" if row["kind"] == DEFAULT else f" ({row['kind']})"),
            f"{row['lr'][0]:g}" + (f" to {row['lr'][-1]:g}" if len(row["lr"]) > 1 else ""),
            "target missed" if row["regret"] is None else _with_error(row["regret"], row["regret_se"], ".3f"),
            f"{row['regret_at']:g}",
            _number(row["time_ratio"], ".3f"),
            _number(row["time_ratio_at"], "g"),
            f"{row['safe']} of {len(row['lr'])}",
            f"{row['seconds']:.1f}",
        ]
        for row in rows
    ]
    return Table(head, cells, shown=True, drop=("longest call, s", "steps at lr", "regret at lr", "lr"))


def _cell_table(results: Sequence[Cell]) -> Table:
    head = ("problem", "answer", "lr", "1 − β", "fastest", "regret", "predicted", "measured", "ratio", "s", "says", "closed form")
    cells = []
    for kind, some in _kinds(results).items():
        for cell in some:
            answer = _answer(cell, kind)
            cells.append(
                [
                    cell["case"],
                    kind,
                    f"{cell['lr']:g}",
                    _number(answer.get("one_minus_beta"), ".4g"),
                    _number(cell["fastest"], ".4g"),
                    _regret_text(answer) + (", came back" if cell["came_back"] and kind != THEORY else ""),
                    _with_error(answer.get("time"), answer.get("time_se"), ".4g"),
                    _with_error(answer.get("measured_time"), answer.get("measured_time_se"), ".4g"),
                    _number(_ratio(answer), ".3f"),
                    f"{answer['seconds']:.1f}",
                    answer.get("refused") or "; ".join(answer["doubts"]) or "safe",
                    _way_text(answer, "closed form"),
                ]
            )
    first_dropped = ("closed form", "s", "says", "answer", "measured", "predicted")
    return Table(head, cells, shown=True, drop=first_dropped)


def _way_text(answer: dict[str, Any], name: str) -> str:
    """A way's regret beside what is said of it."""
    way = answer["ways"].get(name)
    if way is None:
        return ""
    regret = "missed" if way.get("regret") is None else f"{way['regret']:.2f}"
    return f"{way['says']}: {regret}" if way["says"] else regret


def _ways_table(results: Sequence[Cell]) -> Table:
    """Regret of each way that the theory's answer is made from; the one it comes from included."""
    cells = _kinds(results)[THEORY]
    names = list(dict.fromkeys(name for cell in cells for name in (*cell["answers"][THEORY]["ways"], _source(cell)) if name))
    rows = []
    for cell in cells:
        answer = cell["answers"][THEORY]
        regrets = {name: _regret_text({**way}) for name, way in answer["ways"].items()}
        if _source(cell):
            regrets[_source(cell)] = f"{_regret_text(answer)} *"
        rows.append([cell["case"], f"{cell['lr']:g}", *(regrets.get(name, "") for name in names)])
    return Table(("problem", "lr", *names), rows, [("", 1), ("regret", len(names))])


def _source(cell: Cell) -> str:
    return str(cell["answers"][THEORY].get("method", ""))


def _findings(results: Sequence[Cell]) -> list[str]:
    """A sentence on the exponents, and a few for each kind of answer."""
    laws = exponents(results)
    gamma = {case: each[0].exponent for case, each in laws.items()}
    lines = []
    if gamma:
        values = [e.value for e in gamma.values()]
        lines.append(
            f"Exponent of the fastest momentum, plain power law: {min(values):.3f} to {max(values):.3f}; 2/3 is in the 95 % "
            f"interval of {sum(e.low <= 2 / 3 <= e.high for e in gamma.values())} of {len(gamma)} problems. At most three "
            "learning rates are too few for fits with corrections."
        )
    for kind, cells in _kinds(results).items():
        answers = [_answer(cell, kind) for cell in cells if not _refused_rightly(cell, kind)]
        if not answers:
            continue
        refused = len(cells) - len(answers)
        worst = max((cell for cell in cells if not _refused_rightly(cell, kind)), key=lambda cell: _regret(_answer(cell, kind)))
        lines.append(
            f"{kind.capitalize()} answer: regret at most {GOAL} within its error in {_count(answers, good)}; largest "
            f"{_regret_text(_answer(worst, kind))}, {worst['case']} at lr {worst['lr']:g}."
            + (f" {refused} more targets, which no momentum met, were refused." if refused else "")
        )
        lines.append(
            f"{kind.capitalize()} answer: predicted steps within 5 % or two standard errors in "
            f"{_count([answer for answer in answers if _ratio(answer) is not None], in_time)}."
        )
        safe = [answer for answer in answers if answer.get("safe")]
        lines.append(
            f"{kind.capitalize()} answer: of {len(safe)} called safe, {sum(map(wrong, safe))} had a regret above {WRONG}."
        )
        seconds = max(answers, key=lambda answer: float(answer["seconds"]))["seconds"]
        lines.append(f"{kind.capitalize()} answer: the longest call took {seconds:.1f} s.")
    return lines


def _count(answers: Iterable[dict[str, Any]], test: Callable[[dict[str, Any]], bool]) -> str:
    some = list(answers)
    return f"{sum(map(test, some))} of {len(some)}"


def report(experiment: Experiment, results: dict[str, Any]) -> Report:
    """Worst regret and time on each problem, then every learning rate."""
    cells, configuration = results["results"], results["configuration"]
    rows = summary(cells)
    n_runs = [cell["n_runs"] for cell in cells]
    asked = len({row["case"] for row in rows})
    sections = [
        Section(
            "Worst of each problem",
            table=_worst_table(rows),
            notes=[
                "Regret: measured time at the recommended momentum over the shortest of the sweep, ± its standard error; the "
                "largest over the learning rates. Errors shorten the shortest time, so regrets are rather too large.",
                "Called safe: number of learning rates at which nothing made the answer doubtful.",
            ],
        ),
        Section("Every learning rate", table=_cell_table(cells)),
        Section(
            "Exponent of the fastest momentum",
            table=Table(
                ("problem", *LAW_HEAD),
                [[case, *row] for case, laws in exponents(cells).items() for row in law_rows(laws, ())],
            ),
            notes=[
                "The fastest momentum of the mean lies next to the cliff, where the time jumps; its standard error is taken as a "
                f"step of the fine pass, {STEP:.0%}."
            ],
        ),
    ]
    if any(THEORY in cell["answers"] for cell in cells):
        sections.append(Section("The ways without trials", table=_ways_table(cells), notes=["*: the theory's answer."]))
    return Report(
        title=experiment.title,
        subtitle=f"profile {configuration['profile']}: {asked} problems, {min(n_runs)} to {max(n_runs)} runs a momentum",
        summary={"summary": rows},
        findings=_findings(cells),
        sections=sections,
        how=[
            "The time of a momentum is that after which the mean of the metric over the runs stays below the target. Training "
            f"goes on for {SETTLED:g} / (1 − β) steps, but at least for {HORIZON:g} and at most for {LONGEST:g} times the "
            "shortest time: a mean that is back above the target by then has not met it. All momenta of a learning rate share "
            "their noise, on seeds that no trial uses.",
            "A coarse pass from a third to four times the recommended 1 − β finds where the fastest lies, a pass in steps of 4 % "
            f"around that measures; runs are doubled until the regret is known to {100 * REGRET_ERROR:g} %, at most "
            f"{experiment.profiles[configuration['profile']][1]} times. Standard errors come from resampling the runs.",
            f"A carried answer is asked for at the smallest learning rate of its problem over {CARRIED:g}, with trials at that "
            "and larger rates only.",
            "Wall times are of one call, with compiled code made before.",
        ],
        command=experiment.command(configuration),
        versions=versions("numpy", "scipy", "numba"),
        configuration=json.dumps(configuration),
    )
