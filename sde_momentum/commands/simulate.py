"""The command `sde-momentum simulate`."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import InputError, check_integer

if TYPE_CHECKING:
    import xarray as xr


def simulate(
    lr: Annotated[list[float], typer.Option(help="learning rate, once for each")],
    momentum: Annotated[list[float], typer.Option(help="momentum, once for each")],
    steps: Annotated[int, typer.Option(help="updates")] = 1000,
    records: Annotated[int, typer.Option(help="how often to measure, evenly spaced")] = 10,
    seeds: Annotated[int, typer.Option(help="runs for each (lr, momentum)")] = 64,
    start: Annotated[str, typer.Option(help="interpolating (a point of the manifold) or random")] = "interpolating",
    label_noise: Annotated[float, typer.Option(help="sigma")] = 0.1,
    batch_size: Annotated[int | None, typer.Option(help="samples a step [default: all]")] = None,
    weight_decay: Annotated[float, typer.Option(help="as in torch.optim.SGD")] = 0.0,
    nesterov: Annotated[bool, typer.Option("--nesterov", help="the look-ahead update")] = False,
    d: Annotated[int, typer.Option(help="the matrix is d x d")] = 8,
    rank: Annotated[int, typer.Option(help="of the hidden matrix")] = 1,
    measurements: Annotated[int, typer.Option(help="how many")] = 40,
    out: Annotated[Path | None, typer.Option(help="netCDF file for every run's metrics")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable output")] = False,
) -> None:
    """Label-noise SGD with momentum on matrix sensing: mean and standard error of what is measured along the runs."""
    import numpy as np

    from ..dynamics.label_noise_sgd import LabelNoiseSGD
    from ..dynamics.solve import solve
    from ..problems.matrix_sensing import MatrixSensing

    if start not in ("interpolating", "random"):
        raise InputError("--start", start, "interpolating or random")
    if out is not None and not out.parent.is_dir():
        raise InputError("--out", out, "a file in a folder that exists")
    last, n_records = check_integer(steps, "--steps", 1), check_integer(records, "--records", 1)
    problem = MatrixSensing(d, rank, measurements)
    method = LabelNoiseSGD(problem, label_noise, batch_size, nesterov=nesterov, weight_decay=weight_decay)
    point = problem.interpolating_start() if start == "interpolating" else problem.random_start(0.1)
    times = np.unique(np.linspace(0, last, n_records + 1).round().astype(int))
    metrics = ("train_loss", "test_error", "trace_hessian")
    runs = solve(method, point, times, lr=lr, momentum=momentum, seeds=range(check_integer(seeds, "--seeds", 2)), metrics=metrics)
    if out is not None:
        runs.to_netcdf(out, engine="h5netcdf")
    result = _means(runs, metrics)
    if as_json:
        typer.echo(json.dumps(result))
        return
    for run in result:
        typer.echo(f"lr {run['lr']:g}, momentum {run['momentum']:g}: {run['diverged']} of {seeds} runs diverged (left out)")
        typer.echo("   steps" + "".join(f"{name:>26}" for name in metrics))
        for i, time in enumerate(run["steps"]):
            pairs = ((run[name][i], run[f"{name}_se"][i]) for name in metrics)
            cells = ("-" if mean is None else f"{mean:.4g} ± {error:.1g}" for mean, error in pairs)
            typer.echo(f"{time:8d}" + "".join(f"{cell:>26}" for cell in cells))


def _numbers(series: xr.DataArray) -> list[float | None]:
    """As JSON has them: no NaN."""
    return [value if value == value else None for value in series.values.tolist()]


def _means(runs: xr.Dataset, metrics: tuple[str, ...]) -> list[dict[str, Any]]:
    """For each (lr, momentum) the mean of each metric over the seeds that have not diverged, and its standard error."""
    diverged = (runs.diverged >= 0).sum("seed")
    kept = runs.where(runs.diverged < 0)
    mean, error = kept.mean("seed"), kept.std("seed", ddof=1) / (runs.sizes["seed"] - diverged) ** 0.5
    result = []
    for lr, momentum in product(runs.lr.values.tolist(), runs.momentum.values.tolist()):
        at = {"lr": lr, "momentum": momentum}
        series = {name: _numbers(mean[name].sel(at)) for name in metrics}
        series |= {f"{name}_se": _numbers(error[name].sel(at)) for name in metrics}
        result.append(at | {"diverged": int(diverged.sel(at)), "steps": runs.time.values.tolist()} | series)
    return result
