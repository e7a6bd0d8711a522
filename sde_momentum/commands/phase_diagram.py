"""The command `sde-momentum phase-diagram`: the regimes of SGD over learning rate and momentum, and the optimum."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..core.errors import InputError, check_lr, check_one, check_positive, check_size
from ..core.extras import require
from ..core.files import json_value, write_whole
from ..core.options import REQUIRED, Form, Option, is_given, union
from ..core.progress import track
from ..problems.registry import built_in, built_in_problems
from .build import build
from .common import (
    JSON,
    NESTEROV,
    check_file,
    check_picture,
    check_target,
    chosen_form,
    geometry_options,
    problem_form,
    say,
    set_up,
)

if TYPE_CHECKING:
    import xarray as xr

    from ..predictors.phase_diagram import PhaseDiagram

_N_LINES = 25
"""Number of learning rates at which --json gives the lines of the diagram."""
_LOWEST_LR = 1e-5
_DEFAULT = next(iter(built_in_problems()))
_OPTIONS = (
    Option("band", float, None, "relative half-width of the band around the optimum (default: up to critical damping)"),
    Option("weight_decay", float, 0.0, "h, curvature along the manifold of weight decay or another explicit force"),
    NESTEROV,
    Option("lr_min", float, None, f"lowest learning rate (default: {_LOWEST_LR:g}; half the lowest of --results)"),
    Option("lr_max", float, 1.0, "highest learning rate"),
    Option("out", Path, Path("phase-diagram.png"), "file of the picture: .png, .svg or .pdf"),
    Option("data", Path, None, "netCDF file for the numbers behind the picture"),
    JSON,
)
_GROUP = "From noise, curvature and eigenvalues"
_NUMBERS_FORM = Form(
    "--noise, --curvature and --eigenvalue",
    (
        *geometry_options(_GROUP),
        Option("eigenvalue", list[float], REQUIRED, "nonzero Hessian eigenvalue on the manifold; repeat for several", _GROUP),
        Option("coupling", float, 0.0, "g = sum_j |grad lambda_j|^2 / lambda_j along the manifold", _GROUP),
        Option("fraction", float, 0.1, "target: squared displacement along the manifold, as a fraction of its start", _GROUP),
        *_OPTIONS,
    ),
)
_RESULTS = Option("results", Path, None, "results.nc of `validate matrix-sensing`: its problem and measured optima")
_PROBLEM_FORMS = {
    problem.name: problem_form(problem, _DEFAULT, (_RESULTS, *_OPTIONS), choose_start=False, target=True)
    for problem in built_in_problems().values()
}
FORMS = (_NUMBERS_FORM, *_PROBLEM_FORMS.values())


def run(given: dict[str, Any]) -> None:
    """Draw the diagram of the options in `given`, None for those not given; print optimum and stability edge."""
    require("phase-diagram", "matplotlib")
    import numpy as np

    from ..figures import phase_diagram as picture
    from ..figures.style import render
    from ..predictors.measured_optimum import measured_optima, read_results
    from ..predictors.phase_diagram import N_GRID

    stored = None
    if given["results"] is not None and _form(given) is not _NUMBERS_FORM:
        stored = read_results(given["results"])
        given = _of_file(stored, given)
    values = _form(given).values(given, FORMS)
    out, data = values["out"], values["data"]
    check_picture("--out", out)
    if data is not None:
        check_file("--data", data)
        if data.resolve() == out.resolve():
            raise InputError("--data", data, "another file than --out")
    measured = None if stored is None else measured_optima(stored)
    low, high = _range(values, measured)
    with track("phase diagram", 3) as advance:
        diagram = _of_problem(given, values) if "problem" in values else _of_numbers(values)
        advance(1)
        tidy = diagram.dataset(np.geomspace(low, high, N_GRID))
        advance(1)
        content = render(picture.phase_diagram(tidy, measured), out.suffix[1:])
    if data is not None:
        everything = tidy if measured is None else tidy.merge(measured.rename(lr="measured_lr"))
        packed = everything.to_netcdf(engine="h5netcdf")
        write_whole(data, lambda file: file.write(packed))
    write_whole(out, lambda file: file.write(content))
    if values["json"]:
        typer.echo(json.dumps({"out": str(out), **_lines(diagram, np.geomspace(low, high, _N_LINES), tidy, measured)}))
        return
    say(f"{_summary(diagram, float(np.sqrt(low * high)))}\ndrawn: {out}")


def _form(given: dict[str, Any]) -> Form:
    if not is_given(given["problem"]) and any(is_given(given[name]) for name in ("noise", "eigenvalue")):
        return _NUMBERS_FORM
    return chosen_form(_PROBLEM_FORMS, given["problem"] or _DEFAULT)


def _range(values: dict[str, Any], measured: xr.Dataset | None) -> tuple[float, float]:
    """Lowest and highest learning rate."""
    lowest = values["lr_min"]
    if lowest is None:
        lowest = _LOWEST_LR if measured is None else float(measured["lr"][0]) / 2
    low, high = check_one(check_lr, lowest, "--lr-min"), check_one(check_lr, values["lr_max"], "--lr-max")
    if low >= high:
        raise InputError("--lr-max", high, f"more than --lr-min = {low:g}")
    return low, high


def _of_file(stored: xr.Dataset, given: dict[str, Any]) -> dict[str, Any]:
    """`given` with the problem of a results file; what the user gave must agree."""
    known = json.loads(stored.attrs["configuration"])
    known = {"problem": _DEFAULT} | {name.removeprefix("n_"): value for name, value in known.items()}
    form = chosen_form(_PROBLEM_FORMS, known["problem"])
    own = {option.name for option in _OPTIONS if option is not NESTEROV}  # of the picture, not of the experiment
    found = {option.name: known[option.name] for option in form.options if option.name in known and option.name not in own}
    for name, value in found.items():
        if is_given(given[name]) and given[name] != value:
            raise InputError(f"--{name.replace('_', '-')}", given[name], f"{value}, as in --results")
    return given | found


def _of_numbers(values: dict[str, Any]) -> PhaseDiagram:
    import numpy as np

    from ..core.convergence import check_fraction
    from ..predictors.phase_diagram import PhaseDiagram

    return PhaseDiagram(
        values["noise"],
        values["curvature"],
        values["eigenvalue"],
        coupling=values["coupling"],
        explicit_curvature=values["weight_decay"],
        target=float(np.sqrt(check_fraction(values["fraction"]))),
        band=values["band"],
        nesterov=values["nesterov"],
    )


def _of_problem(given: dict[str, Any], values: dict[str, Any]) -> PhaseDiagram:
    """The diagram of a built-in problem with its default start."""
    import sde_momentum as sm

    entry = built_in(values["problem"])
    check_target(entry, given, values["metric"])
    sigma = check_one(check_positive, check_size(values["label_noise"], "--label-noise"), "--label-noise")
    problem, start = set_up(entry, given)
    problem.find_metric(values["metric"], "--metric")
    predictor = sm.EffectiveLossPredictor(
        problem,
        start,
        sm.LabelNoiseSGD(problem, sigma).noise,
        metric=values["metric"],
        fraction=values["fraction"],
        nesterov=values["nesterov"],
    )
    return sm.PhaseDiagram.of_predictor(predictor, explicit_curvature=values["weight_decay"], band=values["band"])


def _summary(diagram: PhaseDiagram, lr: float) -> str:
    """Optimum and stability edge at one learning rate, in two lines."""
    lines = [f"{diagram.rule.explain(lr)}: the optimum in closed form", "no stability edge along the manifold"]
    best, edge = float(diagram.optimum(lr)), float(diagram.edge(lr))
    if edge:
        lines[1] = f"stability edge along the manifold there: 1 - beta = {edge:.5g}"
        if edge > best:
            lines[1] += ", above the closed form, which does not take it into account: stay above the edge"
    return "\n".join(lines)


def _lines(diagram: PhaseDiagram, lr: Any, tidy: xr.Dataset, measured: xr.Dataset | None) -> dict[str, Any]:
    """The lines of the diagram (optimum, stability edge, stability limit) and the measured optima as plain numbers."""
    import numpy as np

    low, high = diagram.optimum_band(lr)
    result: dict[str, Any] = {
        "settings": {name: json_value(value) for name, value in tidy.attrs.items()},
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


phase_diagram = build(
    run,
    union(FORMS),
    "Draw the regimes of SGD over learning rate and momentum, its two timescales and the optimum, predicted or measured."
    "\n\nExample: sde-momentum phase-diagram --problem matrix-sensing --out regimes.png",
)
