"""The command `sde-momentum simulate`: label-noise SGD with momentum on a built-in problem."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..core.errors import InputError, check_integer
from ..core.files import json_value, write_whole
from ..core.options import REQUIRED, Option, union
from ..core.progress import track
from ..core.terminal import table, width, wrapped
from ..problems.registry import built_in, built_in_problems
from .build import build
from .common import JSON, NESTEROV, check_file, chosen_form, problem_form, set_up

if TYPE_CHECKING:
    import xarray as xr

METRICS = ("train_loss", "test_error", "trace_hessian")
_DEFAULT = next(iter(built_in_problems()))
_OPTIONS = (
    Option("lr", list[float], REQUIRED, "learning rate; repeat for several"),
    Option("momentum", list[float], REQUIRED, "momentum beta, in [0, 1); repeat for several; all combinations are run"),
    Option("steps", int, 1000, "number of updates"),
    Option("records", int, 10, "number of evenly spaced times at which the metrics are recorded, besides the start"),
    Option("seeds", int, 64, "number of runs for each (lr, momentum)"),
    Option("seed", int, 0, "seed of the first run's noise; the next runs have the next seeds"),
    Option("batch_size", int, None, "number of samples in a batch, drawn without replacement (default: all)"),
    Option("weight_decay", float, 0.0, "weight decay as in torch.optim.SGD, in loss / parameter^2"),
    NESTEROV,
    Option("out", Path, None, "netCDF file for the metrics of every run"),
    JSON,
)
_FORMS = {
    problem.name: problem_form(problem, _DEFAULT, _OPTIONS, choose_start=True, target=False)
    for problem in built_in_problems().values()
}
FORMS = tuple(_FORMS.values())


def run(given: dict[str, Any]) -> None:
    """Simulate with the options in `given`, None for those not given, and print mean and standard error of each metric."""
    entry = built_in(given["problem"] or _DEFAULT)
    values = chosen_form(_FORMS, entry.name).values(given, FORMS)
    import numpy as np

    from ..dynamics.label_noise_sgd import LabelNoiseSGD
    from ..dynamics.solve import solve

    if values["out"] is not None:
        check_file("--out", values["out"])
    for name in ("lr", "momentum"):
        if len(set(values[name])) < len(values[name]):
            raise InputError(f"--{name}", " ".join(map(str, values[name])), "different numbers")
    last, n_records = check_integer(values["steps"], "--steps", 1), check_integer(values["records"], "--records", 1, 10**6)
    n_seeds, first_seed = check_integer(values["seeds"], "--seeds", 2, 10**7), check_integer(values["seed"], "--seed", 0)
    times = np.unique(np.linspace(0, last, n_records + 1).round().astype(int))
    seeds = range(first_seed, first_seed + n_seeds)
    with track("simulate", 1):  # making a problem compiles code the first time
        problem, start = set_up(entry, given)
        method = LabelNoiseSGD(
            problem,
            values["label_noise"],
            values["batch_size"],
            nesterov=values["nesterov"],
            weight_decay=values["weight_decay"],
        )
        metrics = tuple(name for name in METRICS if np.isfinite(problem.metric(name, start)))  # some have no test error
        runs = solve(method, start, times, lr=values["lr"], momentum=values["momentum"], seeds=seeds, metrics=metrics)
    if values["out"] is not None:
        packed = runs.to_netcdf(engine="h5netcdf")
        write_whole(values["out"], lambda file: file.write(packed))
    result = _means(runs, metrics)
    typer.echo(json.dumps(result) if values["json"] else "\n".join(_table(result, metrics, n_seeds)))


def _table(result: list[dict[str, Any]], metrics: tuple[str, ...], n_seeds: int) -> list[str]:
    """The lines of the tables, one table for each (lr, momentum)."""
    lines, columns = [], width()
    for at in result:
        title = f"lr {at['lr']:g}, momentum {at['momentum']:g}: {at['diverged']} of {n_seeds} runs diverged (left out)"
        rows = []
        for i, time in enumerate(at["steps"]):
            pairs = ((at[name][i], at[f"{name}_se"][i]) for name in metrics)
            rows.append([str(time), *("-" if mean is None else f"{mean:.4g} ± {error:.1g}" for mean, error in pairs)])
        lines += table(["steps", *metrics], rows, columns, title=wrapped(title, columns))
    return lines


def _means(runs: xr.Dataset, metrics: tuple[str, ...]) -> list[dict[str, Any]]:
    """For each (lr, momentum) the mean of each metric over the runs that have not diverged, and its standard error."""
    diverged = (runs.diverged >= 0).sum("seed")
    kept = runs.where(runs.diverged < 0)
    mean, error = kept.mean("seed"), kept.std("seed", ddof=1) / (runs.sizes["seed"] - diverged) ** 0.5
    result = []
    for lr, momentum in product(runs.lr.values.tolist(), runs.momentum.values.tolist()):
        at = {"lr": lr, "momentum": momentum}
        series = {name: json_value(mean[name].sel(at).values) for name in metrics}
        series |= {f"{name}_se": json_value(error[name].sel(at).values) for name in metrics}
        result.append(at | {"diverged": int(diverged.sel(at)), "steps": runs.time.values.tolist()} | series)
    return result


simulate = build(
    run,
    union(FORMS),
    "Simulate SGD with momentum and label noise on a built-in problem: mean and standard error of each metric along the runs.\n\n"
    "Example: sde-momentum simulate --lr 0.05 --momentum 0.9 --momentum 0.99",
)
