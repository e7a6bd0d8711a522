"""The command `sde-momentum phase-diagram`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import InputError, check_lr, check_one, check_positive
from ..core.files import write_whole
from .common import N_MODES, PROBLEMS, check_file, check_picture

if TYPE_CHECKING:
    import xarray as xr

    from ..predictors.phase_diagram import PhaseDiagram

DEFAULTS: dict[str, Any] = {
    "d": 8,
    "rank": 1,
    "measurements": 40,
    "label_noise": 0.1,
    "metric": "test_error",
    "fraction": 0.1,
    "nesterov": False,
}
_N_LINES = 25  # learning rates of the lines in --json


def phase_diagram(
    problem: Annotated[str | None, typer.Option(help="matrix-sensing (the default) or valley, in place of numbers")] = None,
    noise: Annotated[float | None, typer.Option(help="c = sigma^2 / B")] = None,
    curvature: Annotated[float | None, typer.Option(help="mu, curvature of tr H along the manifold (valley: default 1)")] = None,
    eigenvalue: Annotated[list[float] | None, typer.Option(help="of the Hessian across the manifold, once for each")] = None,
    coupling: Annotated[float | None, typer.Option(help="g, in units of the curvature (default 0; valley: 3)")] = None,
    label_noise: Annotated[float | None, typer.Option(help="sigma (default 0.1)")] = None,
    d: Annotated[int | None, typer.Option(help="the matrix is d x d (default 8)")] = None,
    rank: Annotated[int | None, typer.Option(help="of the hidden matrix (default 1)")] = None,
    measurements: Annotated[int | None, typer.Option(help="how many (default 40)")] = None,
    fraction: Annotated[
        float | None, typer.Option(help="target: test error (squared distance) below this fraction of its start (default 0.1)")
    ] = None,
    band: Annotated[float | None, typer.Option(help="relative width of the optimum's band (default to critical damping)")] = None,
    weight_decay: Annotated[float, typer.Option(help="explicit curvature along the manifold")] = 0.0,
    nesterov: Annotated[bool | None, typer.Option("--nesterov", help="the look-ahead update")] = None,
    lr_min: Annotated[float | None, typer.Option(help="lowest learning rate (default 1e-5; half that of --results)")] = None,
    lr_max: Annotated[float, typer.Option(help="highest learning rate")] = 1.0,
    results: Annotated[
        Path | None, typer.Option(help="results.nc of `validate matrix-sensing`: its measured optima, and its problem")
    ] = None,
    out: Annotated[Path, typer.Option(help="the picture: .png, .svg or .pdf")] = Path("phase-diagram.png"),
    data: Annotated[Path | None, typer.Option(help="netCDF file for the numbers behind the picture")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="the optimum and the boundaries as numbers")] = False,
) -> None:
    """Draw the regimes over learning rate and momentum, the two timescales, the optimum and, from --results, measured optima."""
    import numpy as np

    from ..figures import phase_diagram as picture  # before any work: matplotlib may be missing
    from ..figures.style import render
    from ..predictors.measured_optimum import measured_optima, read_results
    from ..predictors.phase_diagram import N_GRID

    check_picture("--out", out)
    if data is not None:
        check_file("--data", data)
    if data is not None and data.resolve() == out.resolve():
        raise InputError("--data", data, "another file than --out")
    of_problem = {"d": d, "rank": rank, "measurements": measurements, "label_noise": label_noise}
    options = {**of_problem, "metric": None, "fraction": fraction, "nesterov": nesterov}
    numbers = {"--noise": noise, "--curvature": curvature, "--eigenvalue": eigenvalue or None, "--coupling": coupling}
    stored = None if results is None else read_results(results)
    if stored is not None:
        for name in (name for name, value in numbers.items() if value is not None):
            raise InputError(name, "a number beside --results", "--results alone: the file says which problem")
        if problem not in (None, PROBLEMS[0]):
            raise InputError("--problem", problem, f"{PROBLEMS[0]}, beside --results")
        options = _of_file(stored, options)
    if problem is None:
        problem = PROBLEMS[0] if all(value is None for value in numbers.values()) else "numbers"
    measured = None if stored is None else measured_optima(stored)
    lowest = lr_min if lr_min is not None else 1e-5 if measured is None else float(measured["lr"][0]) / 2
    low, high = (check_one(check_lr, value, name) for value, name in ((lowest, "--lr-min"), (lr_max, "--lr-max")))
    if low >= high:
        raise InputError("--lr-max", high, f"more than --lr-min = {low:g}")
    diagram = _diagram(problem, options, numbers, band=band, weight_decay=weight_decay)
    tidy = diagram.dataset(np.geomspace(low, high, N_GRID))
    figure = picture.phase_diagram(tidy, measured)
    content = render(figure, out.suffix[1:])
    if data is not None:
        everything = tidy if measured is None else tidy.merge(measured.rename(lr="measured_lr"))
        packed = everything.to_netcdf(engine="h5netcdf")
        write_whole(data, lambda file: file.write(packed))
    write_whole(out, lambda file: file.write(content))
    if as_json:
        typer.echo(json.dumps({"out": str(out), **_lines(diagram, np.geomspace(low, high, _N_LINES), tidy, measured)}))
        return
    typer.echo(_summary(diagram, float(np.sqrt(low * high))))
    typer.echo(f"drawn: {out}")


def _summary(diagram: PhaseDiagram, lr: float) -> str:
    """Optimum and edge at one learning rate, in two lines."""
    lines = [f"{diagram.rule.explain(lr)}: the optimum in closed form", "no stability edge along the manifold"]
    best, edge = float(diagram.optimum(lr)), float(diagram.edge(lr))
    if edge:
        lines[1] = f"stability edge along the manifold there: 1 - beta = {edge:.5g}"
        if edge > best:
            lines[1] += ", less momentum than the closed form, which does not know of it: stay above the edge"
    return "\n".join(lines)


def _of_file(stored: xr.Dataset, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a results file; the user's own must agree."""
    known = json.loads(stored.attrs["configuration"])
    found = {name: known.get(name, known.get(f"n_{name}")) for name in options}
    for name, asked in options.items():
        if asked is not None and asked != found[name]:
            option = f"--{name.replace('_', '-')}"
            raise InputError(option, asked, f"{found[name]}, as in --results")
    return found


def _diagram(
    problem: str, given: dict[str, Any], numbers: dict[str, Any], *, band: float | None, weight_decay: float
) -> PhaseDiagram:
    """The diagram of plain numbers, of a valley, or of matrix sensing from its interpolating start."""
    import numpy as np

    import sde_momentum as sm

    from ..core.convergence import check_fraction

    options = {name: DEFAULTS[name] if value is None else value for name, value in given.items()}
    common: dict[str, Any] = {"band": band, "explicit_curvature": weight_decay}
    unused = {"numbers": ("d", "rank", "measurements", "label_noise"), "valley": ("d", "rank", "measurements")}
    for name in unused.get(problem, ()):
        if given[name] is not None:
            raise InputError(f"--{name.replace('_', '-')}", given[name], f"nothing: {problem} does not use it")
    for name in {"valley": ("--noise", "--eigenvalue"), "matrix-sensing": tuple(numbers)}.get(problem, ()):
        if numbers[name] is not None:
            raise InputError(name, numbers[name], f"nothing: {problem} makes its own")
    fraction = float(check_fraction(options["fraction"]))
    target = float(np.sqrt(fraction))  # of the distance, whose square the test error is
    noise, curvature, eigenvalues, coupling = numbers.values()
    if problem == "numbers":
        for name in ("--noise", "--curvature", "--eigenvalue"):
            if numbers[name] is None:
                raise InputError(name, "nothing", "a number > 0: --noise, --curvature and --eigenvalue go together")
        return sm.PhaseDiagram(
            noise, curvature, eigenvalues, coupling=coupling or 0.0, target=target, nesterov=options["nesterov"], **common
        )
    sigma = float(check_positive(options["label_noise"], "--label-noise"))
    if problem == "valley":
        valley = sm.Valley.balanced(N_MODES, 1.0 if curvature is None else curvature, 3.0 if coupling is None else coupling)
        point, displacement = sm.ManifoldPoint(valley, valley.start(0.0)), valley.start(1.0)
        c = sigma**2 / N_MODES
        return sm.PhaseDiagram.of_point(point, displacement, c, target=target, nesterov=options["nesterov"], **common)
    if problem != "matrix-sensing":
        raise InputError("--problem", problem, " or ".join(PROBLEMS))
    sensing = sm.MatrixSensing(options["d"], options["rank"], options["measurements"])
    predictor = sm.EffectiveLossPredictor(
        sensing,
        sensing.interpolating_start(),
        sm.LabelNoiseSGD(sensing, sigma).noise,
        metric=options["metric"],
        fraction=fraction,
        nesterov=options["nesterov"],
    )
    return sm.PhaseDiagram.of_predictor(predictor, **common)


def _lines(diagram: PhaseDiagram, lr: Any, tidy: xr.Dataset, measured: xr.Dataset | None) -> dict[str, Any]:
    """Optimum, edge and boundaries as plain numbers."""
    import numpy as np

    low, high = diagram.optimum_band(lr)
    settings = {name: value.tolist() if hasattr(value, "tolist") else value for name, value in tidy.attrs.items()}
    result: dict[str, Any] = {
        "settings": {name: None if value != value or value == float("inf") else value for name, value in settings.items()},
        "lr": lr.tolist(),
        "optimum": diagram.optimum(lr).tolist(),
        "optimum_low": low.tolist(),
        "optimum_high": high.tolist(),
        "critical_damping": np.asarray(diagram.critical.one_minus_beta(lr)).tolist(),
        "edge": diagram.edge(lr).tolist(),
        "stable_lr": {
            "one_minus_beta": [1.0, 0.1, 0.01, 0.001],
            "lr": diagram.stable_lr([1.0, 0.1, 0.01, 0.001]).tolist(),
        },
        "regimes": tidy["regime"].attrs["flag_meanings"].split(", "),
    }
    if measured is not None:
        columns = ("lr", "measured", "measured_low", "measured_high")
        result["measured"] = {name: measured[name].values.tolist() for name in columns}
        methods = measured["recommended"]
        names = methods["method"].values.tolist()
        result["measured"]["recommended"] = dict(zip(names, methods.transpose("method", "lr").values.tolist(), strict=True))
    return result
