"""The command `sde-momentum`. Bad input: one line and exit status 2.

Commands that need more than the core live beside it and are found by the entry-point group `sde_momentum.commands`:
a function is a command, a `typer.Typer` a group of them.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from importlib.metadata import entry_points
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import InputError, check_integer
from .training.cli import estimate

if TYPE_CHECKING:
    import xarray as xr

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="show the traceback of an error")] = False,
) -> None:
    """The best momentum for a learning rate, and why."""


@app.command()
def predict(
    lr: Annotated[float, typer.Option(help="learning rate")],
    ref_lr: Annotated[float | None, typer.Option(help="learning rate of a tuned pair")] = None,
    ref_momentum: Annotated[float | None, typer.Option(help="its momentum")] = None,
    noise: Annotated[float | None, typer.Option(help="c = sigma^2 / B")] = None,
    curvature: Annotated[float | None, typer.Option(help="mu, curvature of tr H along the manifold")] = None,
    weight_decay: Annotated[float, typer.Option(help="explicit curvature along the manifold")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable output")] = False,
) -> None:
    """Best momentum from a tuned pair (--ref-lr, --ref-momentum) or from geometry (--noise, --curvature)."""
    from .predictors.momentum_rule import MomentumRule

    if ref_lr is not None and ref_momentum is not None and noise is None and curvature is None:
        rule = MomentumRule.from_reference(ref_lr, ref_momentum)
    elif noise is not None and curvature is not None and ref_lr is None and ref_momentum is None:
        rule = MomentumRule.from_geometry(noise, curvature, explicit_curvature=weight_decay)
    else:
        raise InputError("options", "another combination", "--ref-lr with --ref-momentum, or --noise with --curvature")
    result = {
        "lr": lr,
        "momentum": float(rule.momentum(lr)),
        "one_minus_beta": float(rule.one_minus_beta(lr)),
        "clamped": bool(rule.clamped(lr)),
        "source": rule.source,
    }
    typer.echo(json.dumps(result) if as_json else f"momentum {result['momentum']:.6f}\n{rule.explain(lr)}")


@app.command()
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

    from .dynamics.label_noise_sgd import LabelNoiseSGD
    from .dynamics.solve import solve
    from .problems.matrix_sensing import MatrixSensing

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


app.command()(estimate)  # imports torch only when it runs


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


@cache
def _add_commands() -> None:
    for entry in sorted(entry_points(group="sde_momentum.commands"), key=lambda entry: entry.name):
        command = entry.load()
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=entry.name)
        else:
            app.command(entry.name)(command)


def main() -> None:
    """Entry point."""
    debug = "--debug" in sys.argv
    try:
        _add_commands()
        app()
    except InputError as error:
        if debug:
            raise
        typer.echo(f"sde-momentum: {error}", err=True)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if debug or error.name is None or error.name.partition(".")[0] == "sde_momentum":
            raise
        typer.echo(f"sde-momentum: this command needs {error.name}: pip install 'sde-momentum[all]'", err=True)
        sys.exit(1)
    except OSError as error:
        if debug:
            raise
        typer.echo(f"sde-momentum: {error}", err=True)
        sys.exit(1)
