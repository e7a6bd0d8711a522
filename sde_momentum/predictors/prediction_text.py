"""A prediction as text of a dozen lines and as JSON [theory: Ways to predict]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..core.files import json_value


def describe(prediction: Any) -> str:
    """A `Prediction` in some twelve lines: doubts, momentum, expected steps, trials, theory beside them, table of the ways."""
    best = prediction.best
    lines = [f"doubtful: {doubt}" for doubt in prediction.doubts]
    span = "" if best.low is None or best.high is None else f", from {best.low:.3g} to {best.high:.3g}"
    momentum = momentum_text(best.one_minus_beta)
    lines.append(
        f"momentum {momentum} at lr {prediction.lr:.4g}, by {prediction.method} (1 - beta = {best.one_minus_beta:.4g}{span})"
    )
    goal = f"the mean of {prediction.target.metric} stays below {prediction.target.fraction:.3g} of its start"
    if best.time is None:
        lines.append(f"target: {goal}; {prediction.method} predicts no number of steps")
    elif not math.isfinite(best.time):
        lines.append(f"expected: never that {goal}")
    else:
        lines.append(f"expected: {steps_text(best.time, best.time_se)} steps until {goal}")
    if best.cliff is not None:
        lines.append(
            f"cliff: below 1 - beta = {best.cliff:.4g} the target is met much later or never{_diverged(prediction.trials)}"
        )
    lines += _trials(prediction.trials)
    lines.append(theory_beside_trials(prediction) if prediction.trials is not None else prediction.verdict)
    return "\n".join([*lines, *_table(prediction)])


def as_dict(prediction: Any) -> dict[str, Any]:
    """All fields of a `Prediction` as plain numbers, strings, lists and dicts; None for a number that is not finite."""
    return {
        "lr": json_value(prediction.lr),
        "noise": json_value(prediction.noise),
        "target": {"metric": str(prediction.target.metric), "fraction": json_value(prediction.target.fraction)},
        **{
            name: json_value(getattr(prediction, name))
            for name in ("momentum", "one_minus_beta", "low", "high", "time", "time_se")
        },
        "method": prediction.method,
        "safe": bool(prediction.safe),
        "doubts": list(prediction.doubts),
        "cliff": json_value(prediction.cliff),
        "agreement": dict(prediction.agreement),
        "ways": {name: _fields(way, "trials") for name, way in prediction.ways.items()},
        "checks": [asdict(check) for check in prediction.checks],
        "verdict": prediction.verdict,
        "trials": None if prediction.trials is None else _trials_dict(prediction.trials),
    }


def theory_beside_trials(prediction: Any) -> str:
    """How far the other ways agree with the recommended one, and which assumptions are broken, in one line.

    "theory: momentum of closed form agrees; effective loss has too much momentum (1 - beta is 0.7 times the answer's)"
    """
    parts = []
    for name, word in prediction.agreement.items():
        if name not in prediction.ways:
            parts.append(f"{name} {word.partition(':')[0]}")  # the table says why
        elif word.startswith("agrees"):
            parts.append(f"momentum of {name} {word}")
        else:
            ratio = prediction.ways[name].one_minus_beta / prediction.one_minus_beta
            parts.append(f"{name} has {word} (1 - beta is {ratio:.2g} times the answer's)")
    broken = ", ".join(check.name for check in prediction.checks if not check.holds)
    text = "; ".join([*(parts or ["nothing to compare the trials with"]), *([f"broken: {broken}"] if broken else [])])
    return f"theory: {text}"


def momentum_text(one_minus_beta: float) -> str:
    """The momentum with the digits that 1 - beta needs for four of its own.

    >>> momentum_text(0.0123456), momentum_text(1.23e-5), momentum_text(0.4)
    ('0.98765', '0.99998770', '0.6000')
    """
    digits = max(4, 3 - math.floor(math.log10(one_minus_beta)))
    return f"{1 - one_minus_beta:.{digits}f}"


def steps_text(steps: float, error: float | None) -> str:
    """A number of steps, with two digits of its standard error where there is one.

    >>> steps_text(41.234, 0.123), steps_text(123456.0, 1234.0), steps_text(123456.0, 0.0), steps_text(float("inf"), 0.0)
    ('41.23 ± 0.12', '123500 ± 1200', '123456', 'not met')
    """
    if not math.isfinite(steps):
        return "not met"
    if not error or not math.isfinite(error):
        return f"{steps:.0f}" if steps >= 1000 else f"{steps:.4g}"
    digits = 1 - math.floor(math.log10(error))
    return " ± ".join(f"{round(number, digits):.{max(0, digits)}f}" for number in (steps, error))


def _diverged(trials: Any) -> str:
    """How many of the runs beyond the cliff diverged, where some did."""
    if trials is None:
        return ""
    at = trials.at[0]
    beyond = at.one_minus_beta < at.best
    lost = int(at.lost[beyond].sum())
    return f"; {lost} of {int(at.n_seeds[beyond].sum())} runs there diverged" if lost else ""


def _trials(trials: Any) -> list[str]:
    """What was simulated: a line for each learning rate, and how close to the shortest time the answer is known to be."""
    if trials is None:
        return []
    lines = [
        f"trials at lr {at.lr:.4g}: {len(at.one_minus_beta)} momenta, {_range(at.n_seeds)} seeds, {_range(at.n_steps)} steps"
        for at in trials.at
    ]
    bound = (
        f"at most {trials.regret:.3g} times the shortest time (95 %)"
        if math.isfinite(trials.regret)
        else "no bound on the regret"
    )
    carried = f" at lr {trials.at[0].lr:.4g}, carried from there by the theory's law" if trials.carried else ""
    return [*lines, f"reached: {bound}{carried}; took {trials.seconds:.3g} of {trials.budget:.3g} s"]


def _range(values: Sequence[int]) -> str:
    low, high = int(min(values)), int(max(values))
    return str(low) if low == high else f"{low} to {high}"


def _table(prediction: Any) -> list[str]:
    """The ways, each with 1 - beta, steps and a word; columns are as wide as their widest entry."""
    rows = [("way", "1 - beta", "steps", "")]
    for name, way in prediction.ways.items():
        steps = "" if way.time is None else steps_text(way.time, way.time_se)
        word = "the answer" if name == prediction.method else prediction.agreement.get(name, "")
        word = f"momentum {word}" if word.startswith("agrees") else word  # their steps stand beside it
        rows.append((name, f"{way.one_minus_beta:.4g}", steps, word))
    rows += [(name, "", "", word) for name, word in prediction.agreement.items() if name not in prediction.ways]
    first, second, third = (max(len(row[i]) for row in rows) for i in range(3))
    return [f"  {row[0]:{first}}  {row[1]:>{second}}  {row[2]:>{third}}  {row[3]}".rstrip() for row in rows]


def _trials_dict(trials: Any) -> dict[str, Any]:
    return _fields(trials, "at") | {"at": [_fields(at) for at in trials.at]}


def _fields(thing: Any, *without: str) -> dict[str, Any]:
    return {name: json_value(value) for name, value in vars(thing).items() if name not in without}
