"""Every prediction against full simulation: regret of the recommended momentum, predicted against measured time
[theory: Ways to predict].

The time of a momentum is that after which the mean of the metric over the runs stays below the target. All momenta of a
learning rate share their noise; standard errors come from resampling the runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sde_momentum as sm
from sde_momentum.core.errors import InputError
from sde_momentum.dynamics.critical_course import critical_course
from sde_momentum.predictors.ways.critical_limit import ByCriticalLimit
from sde_momentum.predictors.ways.finite_lr import ByFiniteLr
from sde_momentum.predictors.ways.registry import WAYS as ALL_WAYS

from .cases import CASES, Case
from .store import read_json, write_json

Floats = NDArray[np.float64]

NAME = "predictions"
WAYS = tuple(name for name in ALL_WAYS if name not in ("transfer", "moment closure"))
"""The ways that are tested: those that need no tuned pair and take problems of any size."""
CRITICAL_LIMIT, AT_FINITE_LR = ByCriticalLimit.name, ByFiniteLr.name
PROFILES = {"quick": (2, 0.125), "full": (3, 1.0)}
"""Learning rates for each problem, and the share of its runs."""

_GRID = np.array([0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.07, 1.15, 1.35, 1.7, 2.2, 3.0, 4.0])
"""1 - beta of the sweep over that of the critical limit, at finite lr where that is tried."""

_N_RECORDS = 200
_N_RESAMPLES = 200


@dataclass(frozen=True)
class Work:
    """One learning rate of one case."""

    case: Case
    lr: float
    n_seeds: int
    seed: int

    @property
    def file(self) -> str:
        """Name of its results."""
        words = "".join(letter if letter.isalnum() else "-" for letter in self.case.name)
        return f"{words}-lr{self.lr:.3g}.json"


def plan(profile: str, names: Sequence[str] | None, seed: int) -> list[Work]:
    """What a profile runs. Raises InputError for an unknown profile or case."""
    if profile not in PROFILES:
        raise InputError("--profile", profile, ", ".join(PROFILES))
    for name in names or ():
        if name not in {case.name for case in CASES}:
            raise InputError("--case", name, "; ".join(case.name for case in CASES))
    n_lr, share = PROFILES[profile]
    cases = [case for case in CASES if not names or case.name in names]
    return [
        Work(case, float(f"{lr:.3g}"), max(32, int(share * case.n_seeds)), seed)
        for case in cases
        for lr in np.geomspace(*case.lr, n_lr)
    ]


def run(works: Sequence[Work], out: Path, workers: int, report: Callable[[float], None]) -> list[dict[str, Any]]:
    """Results of all works, those that `out` holds already not computed again."""
    (out / "curves").mkdir(parents=True, exist_ok=True)
    results = []
    for work in works:
        file = out / work.file
        if not file.exists():
            write_json(file, _measure(work, out / "curves", workers))
        results.append(read_json(file))
        report(1)
    return results


def _measure(work: Work, curves: Path, workers: int) -> dict[str, Any]:
    case = work.case
    problem, start = case.make()
    method = sm.LabelNoiseSGD(problem, case.label_noise)
    goal = (case.metric, case.fraction)
    answers = {}
    for way in WAYS:
        if way == AT_FINITE_LR and not critical_course(problem).corrected_at_finite_lr:
            continue
        answers[way] = sm.predict(
            problem,
            work.lr,
            noise=method.noise,
            start=start,
            target=goal,
            methods=[way],
            store=curves,
            workers=workers,
            progress=False,
        )
    best = answers[AT_FINITE_LR if AT_FINITE_LR in answers else CRITICAL_LIMIT].best
    asked = {way: answer.one_minus_beta for way, answer in answers.items()}
    deltas = np.unique(np.minimum(np.concatenate([best.one_minus_beta * _GRID, list(asked.values())]), 1.0))
    predicted = {way: _predicted(work, curves, deltas, way) for way in (CRITICAL_LIMIT, AT_FINITE_LR) if way in answers}
    limit = np.where(np.isfinite(predicted[CRITICAL_LIMIT]), predicted[CRITICAL_LIMIT], 0)
    rough = sm.DriftPath(problem, start, *goal).expected_time(work.lr, deltas, method.noise)
    horizon = np.maximum(2.7 * float(best.time or 0), 1.5 * np.maximum(limit, rough))
    seeds = work.seed * 1_000_003 + np.arange(work.n_seeds)
    courses = []
    for delta, steps in zip(deltas, horizon, strict=True):
        clock = np.unique(np.linspace(0, steps, _N_RECORDS).astype(int))
        found = sm.solve(
            method,
            start,
            clock,
            lr=work.lr,
            momentum=1 - delta,
            seeds=seeds,
            metrics=[case.metric],
            workers=workers,
            progress=False,
        )
        courses.append((clock, found[case.metric].values[0, 0]))
    times, resampled = mean_times(courses, case.fraction, work.seed)
    with np.errstate(invalid="ignore"):  # a time may be infinite
        time_se = resampled.std(axis=0)
    edge = answers[CRITICAL_LIMIT].edge
    return {
        "case": case.name,
        "lr": work.lr,
        "n_seeds": work.n_seeds,
        "one_minus_beta": deltas.tolist(),
        "time": _plain(times),
        "time_se": _plain(time_se),
        "predicted": {way: _plain(steps) for way, steps in predicted.items()},
        "edge": edge,
        "ways": {way: _row(deltas, times, resampled, value, answers[way]) for way, value in asked.items()},
        "checks": {check.name: check.holds for check in answers[CRITICAL_LIMIT].checks},
    }


def _predicted(work: Work, curves: Path, deltas: Floats, way: str) -> Floats:
    """Times of a way's universal curve at every momentum."""
    problem, start = work.case.make()
    noise = sm.LabelNoiseSGD(problem, work.case.label_noise).noise
    curve = sm.universal_curve(
        problem,
        start,
        (work.case.metric, work.case.fraction),
        scaled_lr=noise**2 * work.lr if way == AT_FINITE_LR else None,
        store=curves,
        progress=False,
    )
    return curve.convergence_time(work.lr, deltas, noise)[0]


def mean_times(courses: Sequence[tuple[NDArray[np.int64], Floats]], fraction: float, seed: int) -> tuple[Floats, Floats]:
    """Times of the means (n,), and of resampled means (n_resamples, n), the same runs at every momentum; a mean with a diverged
    run is infinite."""
    n_seed = len(courses[0][1])
    rng = np.random.default_rng([seed, 30])
    weights = rng.multinomial(n_seed, np.full(n_seed, 1 / n_seed), size=_N_RESAMPLES) / n_seed
    times, resampled = [], []
    for clock, measured in courses:
        values = np.where(np.isfinite(measured), measured, np.inf)
        times.append(float(sm.convergence_time(values.mean(axis=0), clock, fraction)))
        finite = np.isfinite(values).all()
        means = weights @ values if finite else np.full((_N_RESAMPLES, len(clock)), values.mean(axis=0))
        resampled.append(sm.convergence_time(means, clock, fraction))
    return np.array(times), np.stack(resampled, axis=1)


def _row(deltas: Floats, times: Floats, resampled: Floats, value: float, answer: sm.Prediction) -> dict[str, Any]:
    i = int(np.argmin(np.abs(np.log(deltas / value))))
    with np.errstate(invalid="ignore"):
        regret, regrets = times[i] / times.min(), resampled[:, i] / resampled.min(axis=1)
    best = float(deltas[np.argmin(times)])
    return {
        "one_minus_beta": value,
        "over_fastest": value / best,
        "regret": _plain(float(regret)),
        "regret_se": _plain(float(np.std(regrets[np.isfinite(regrets)]))) if np.isfinite(regrets).any() else None,
        "predicted_time": _plain(answer.time),
        "measured_time": _plain(float(times[i])),
    }


def _plain(x: Any) -> Any:
    """As JSON has them: None for what is not finite."""
    if isinstance(x, np.ndarray):
        return [_plain(value) for value in x.tolist()]
    return None if x is None or not np.isfinite(x) else x


def summary(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each case the worst regret of each way, and the worst ratio of predicted to measured time of the critical limit.

    The ratio is taken from the recommendation up in 1 - beta: at finite lr, where that was tried.
    """
    rows = []
    for name in dict.fromkeys(result["case"] for result in results):
        mine = [result for result in results if result["case"] == name]
        row: dict[str, Any] = {"case": name, "lr": [result["lr"] for result in mine]}
        for way in mine[0]["ways"]:
            worst = max(mine, key=lambda result: _infinite(result["ways"][way]["regret"]))
            row[way] = {"regret": worst["ways"][way]["regret"], "regret_se": worst["ways"][way]["regret_se"], "lr": worst["lr"]}
        way = AT_FINITE_LR if AT_FINITE_LR in mine[0]["predicted"] else CRITICAL_LIMIT
        ratios = [
            (abs(np.log(predicted / measured)), predicted / measured, result["lr"], delta)
            for result in mine
            for delta, predicted, measured in zip(result["one_minus_beta"], result["predicted"][way], result["time"], strict=True)
            if delta >= result["ways"][way]["one_minus_beta"] * (1 - 1e-9) and predicted and measured
        ]
        row["time_ratio"] = max(ratios)[1:] if ratios else None
        rows.append(row)
    return rows


def _infinite(x: float | None) -> float:
    return np.inf if x is None else x


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The summary in Markdown."""
    lines = [
        f"| problem | lr | regret: {' | '.join(WAYS)} | predicted / measured time |",
        f"| --- | --- |{' --- |' * len(WAYS)} --- |",
    ]
    for row in rows:
        cells = []
        for way in WAYS:
            if way not in row:
                cells.append("")
                continue
            regret, error = row[way]["regret"], row[way]["regret_se"]
            cells.append("never arrives" if regret is None else f"{regret:.3f} ± {error or 0:.3f}")
        ratio = "" if row["time_ratio"] is None else f"{row['time_ratio'][0]:.3f} at lr {row['time_ratio'][1]:g}"
        lines.append(f"| {row['case']} | {row['lr'][0]:g} to {row['lr'][-1]:g} | {' | '.join(cells)} | {ratio} |")
    return "\n".join(lines)


def write(results: Sequence[dict[str, Any]], out: Path) -> None:
    """All results in one file, and the table."""
    write_json(out / "results.json", {"results": list(results), "summary": summary(results), "version": sm.__version__})
    (out / "table.md").write_text(table(summary(results)) + "\n", encoding="utf-8")


def read(out: Path) -> list[dict[str, Any]]:
    """What `write` wrote."""
    return list(json.loads((out / "results.json").read_text(encoding="utf-8"))["results"])
