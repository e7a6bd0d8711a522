"""The command `sde-momentum predict`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..core.errors import InputError, check_positive
from ..core.files import write_whole
from .common import N_MODES, PROBLEMS, check_picture


def predict(
    lr: Annotated[float, typer.Option(help="learning rate")],
    ref_lr: Annotated[float | None, typer.Option(help="learning rate of a tuned pair")] = None,
    ref_momentum: Annotated[float | None, typer.Option(help="its momentum")] = None,
    noise: Annotated[float | None, typer.Option(help="c = sigma^2 / B")] = None,
    curvature: Annotated[float | None, typer.Option(help="mu, curvature of tr H along the manifold")] = None,
    weight_decay: Annotated[float, typer.Option(help="explicit curvature along the manifold")] = 0.0,
    problem: Annotated[str | None, typer.Option(help="matrix-sensing or valley: every way that applies, with checks")] = None,
    d: Annotated[int, typer.Option(help="the matrix is d x d")] = 8,
    rank: Annotated[int, typer.Option(help="of the hidden matrix")] = 1,
    measurements: Annotated[int, typer.Option(help="how many")] = 40,
    coupling: Annotated[float, typer.Option(help="g of the valley, in units of its curvature")] = 0.0,
    label_noise: Annotated[float, typer.Option(help="sigma, of a problem")] = 0.1,
    start: Annotated[str, typer.Option(help="of a problem: interpolating (a point of the manifold) or random")] = "interpolating",
    metric: Annotated[str, typer.Option(help="target: test_error or trace_hessian ...")] = "test_error",
    fraction: Annotated[float, typer.Option(help="... stays below this fraction of its start")] = 0.1,
    method: Annotated[list[str] | None, typer.Option(help="way to the momentum, once for each (default: all that apply)")] = None,
    nesterov: Annotated[bool, typer.Option("--nesterov", help="the look-ahead update")] = False,
    store: Annotated[Path | None, typer.Option(help="folder where universal curves are kept and found again")] = None,
    plot: Annotated[Path | None, typer.Option(help="picture of time against momentum: .png, .svg or .pdf")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable output")] = False,
) -> None:
    """Best momentum from a tuned pair (--ref-lr, --ref-momentum), from geometry (--noise, --curvature), or for a --problem."""
    if problem is not None:
        if noise is not None or curvature is not None:
            raise InputError("--problem", problem, "either a problem or --noise with --curvature")
        if plot is not None:
            check_picture("--plot", plot)
        sizes = {"d": d, "rank": rank, "measurements": measurements, "coupling": coupling}
        reference = None if ref_lr is None or ref_momentum is None else (ref_lr, ref_momentum)
        answer = _of_problem(problem, lr, sizes, label_noise, start, (metric, fraction), method, reference, store, nesterov)
        if plot is not None:
            _draw(answer, plot)
        typer.echo(json.dumps(answer.to_dict()) if as_json else str(answer))
        return
    result, text = _of_numbers(lr, ref_lr, ref_momentum, noise, curvature, weight_decay)
    typer.echo(json.dumps(result) if as_json else text)


def _of_numbers(
    lr: float,
    ref_lr: float | None,
    ref_momentum: float | None,
    noise: float | None,
    curvature: float | None,
    weight_decay: float,
) -> tuple[dict[str, Any], str]:
    from ..predictors.momentum_rule import MomentumRule

    if ref_lr is not None and ref_momentum is not None and noise is None and curvature is None:
        rule = MomentumRule.from_reference(ref_lr, ref_momentum)
    elif noise is not None and curvature is not None and ref_lr is None and ref_momentum is None:
        rule = MomentumRule.from_geometry(noise, curvature, explicit_curvature=weight_decay)
    else:
        raise InputError("options", "another combination", "--ref-lr with --ref-momentum, --noise with --curvature, or --problem")
    result = {
        "lr": lr,
        "momentum": float(rule.momentum(lr)),
        "one_minus_beta": float(rule.one_minus_beta(lr)),
        "clamped": bool(rule.clamped(lr)),
        "source": rule.source,
    }
    return result, f"momentum {result['momentum']:.6f}\n{rule.explain(lr)}"


def _of_problem(
    problem: str,
    lr: float,
    sizes: dict[str, Any],
    label_noise: float,
    start: str,
    target: tuple[str, float],
    methods: list[str] | None,
    reference: tuple[float, float] | None,
    store: Path | None,
    nesterov: bool,
) -> Any:
    import sde_momentum as sm

    sigma = float(check_positive(label_noise, "--label-noise"))
    if start not in ("interpolating", "random"):
        raise InputError("--start", start, "interpolating or random")
    what: sm.MatrixSensing | sm.Valley
    if problem == "matrix-sensing":
        what = sm.MatrixSensing(sizes["d"], sizes["rank"], sizes["measurements"])
        point = what.interpolating_start() if start == "interpolating" else what.random_start(what.width**-0.5)
    elif problem == "valley":
        if start == "random":
            raise InputError("--start", start, "interpolating, for the valley")
        what = sm.Valley.balanced(N_MODES, 1.0, sizes["coupling"])
        point = what.start(2.5)
    else:
        raise InputError("--problem", problem, " or ".join(PROBLEMS))
    noise = sm.LabelNoiseSGD(what, sigma).noise
    return sm.predict(
        what, lr, noise=noise, start=point, target=target, methods=methods, reference=reference, store=store, nesterov=nesterov
    )


def _draw(answer: Any, plot: Path) -> None:
    import matplotlib

    from ..figures.style import STYLE, render

    with matplotlib.rc_context(STYLE):
        content = render(answer.plot().get_figure(), plot.suffix[1:])
    write_whole(plot, lambda file: file.write(content))
