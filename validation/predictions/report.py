"""The report: largest regret of each way to predict, and worst predicted time, on each problem."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..experiment import Experiment
from ..report import Report, Section, Table
from ..store import versions
from .measure import AT_FINITE_LR, CRITICAL_LIMIT, N_RECORDS, WAYS

RATIO = "predicted / measured time"


def summary(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each case the largest regret of each way, and the ratio of predicted to measured time that is furthest from 1.

    The ratio is that of the critical limit (at finite lr where available), from its recommendation upwards in 1 - beta.
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


def _regret(row: dict[str, Any], way: str) -> str:
    if way not in row:
        return ""
    regret, error = row[way]["regret"], row[way]["regret_se"]
    return "target missed" if regret is None else f"{regret:.3f} ± {error or 0:.3f}"


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    cells = []
    for row in rows:
        ratio = "" if row["time_ratio"] is None else f"{row['time_ratio'][0]:.3f} at lr {row['time_ratio'][1]:g}"
        cells.append([row["case"], f"{row['lr'][0]:g} to {row['lr'][-1]:g}", *(_regret(row, way) for way in WAYS), ratio])
    return Table(("problem", "lr", *WAYS, RATIO), cells, [("", 1), ("regret", len(WAYS)), ("", 1)], shown=True)


def _findings(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = []
    for way in WAYS:
        tried = [row for row in rows if way in row]
        if tried:
            worst = max(tried, key=lambda row: _infinite(row[way]["regret"]))
            lines.append(
                f"{way.capitalize()}: largest regret of {len(tried)} problems {_regret(worst, way)}, "
                f"{worst['case']} at lr {worst[way]['lr']:g}."
            )
    return lines


def report(experiment: Experiment, results: dict[str, Any]) -> Report:
    """Worst regret of each way to predict on each problem, and worst predicted time."""
    rows, configuration = results["summary"], results["configuration"]
    n_runs = [result["n_seeds"] for result in results["results"]]
    return Report(
        title=experiment.title,
        subtitle=f"profile {configuration['profile']}: {len(rows)} problems, {min(n_runs)} to {max(n_runs)} runs a momentum",
        summary={"summary": rows},
        findings=_findings(rows),
        sections=[
            Section(
                "Regret of each way to predict, and time",
                table=_table(rows),
                notes=[
                    "Regret: measured time at the recommended momentum over the shortest of the sweep, ± its standard error; the "
                    "largest over the learning rates.",
                    f"{RATIO.capitalize()}: where it is furthest from 1, from the recommendation up in 1 − β; of the critical "
                    "limit, at finite lr where that was tried.",
                ],
            )
        ],
        how=[
            "The time of a momentum is that after which the mean of the metric over the runs stays below the target. All momenta "
            f"of a learning rate share their noise; a run is recorded at {N_RECORDS} times.",
            "Standard errors come from resampling the runs.",
        ],
        command=experiment.command(configuration),
        versions=versions("numpy", "scipy", "numba"),
        configuration=json.dumps(configuration),
    )
