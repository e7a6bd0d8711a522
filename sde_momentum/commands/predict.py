"""The command `sde-momentum predict`: the best momentum for a learning rate, from numbers or for a built-in problem."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from ..core.errors import InputError, check_positive
from ..core.files import write_whole
from ..core.options import REQUIRED, Form, Option, is_given, union
from ..core.progress import track
from ..problems.registry import built_in, built_in_problems
from .build import build
from .common import JSON, NESTEROV, check_picture, check_target, chosen_form, geometry_options, problem_form, set_up

_LR = Option("lr", float, REQUIRED, "learning rate to predict for")
_PAIR, _GEOMETRY = "From a tuned pair", "From noise and curvature"
_REFERENCE = (
    Option("ref_lr", float, None, "learning rate of a tuned pair (lr, momentum)", _PAIR),
    Option("ref_momentum", float, None, "the best momentum at --ref-lr", _PAIR),
)
_REFERENCE_FORM = Form("--ref-lr and --ref-momentum", (_LR, *_REFERENCE, JSON))
_GEOMETRY_FORM = Form(
    "--noise and --curvature",
    (
        _LR,
        *geometry_options(_GEOMETRY),
        Option(
            "weight_decay", float, 0.0, "h, curvature along the manifold of weight decay or another explicit force", _GEOMETRY
        ),
        JSON,
    ),
)
_PROBLEM_OPTIONS = (
    _LR,
    *_REFERENCE,
    Option("method", list[str], (), "way to predict, such as 'closed form'; repeat for several (default: those that apply)"),
    NESTEROV,
    Option("store", Path, None, "folder that keeps universal curves of the critical limit between calls"),
    Option("plot", Path, None, "picture of the time to the target against momentum: .png, .svg or .pdf"),
    JSON,
)
_PROBLEM_FORMS = {
    problem.name: problem_form(problem, None, _PROBLEM_OPTIONS, choose_start=True, target=True)
    for problem in built_in_problems().values()
}
FORMS = (_REFERENCE_FORM, _GEOMETRY_FORM, *_PROBLEM_FORMS.values())
_EXTRAS = {"store": "store", "nesterov": "nesterov", "ref_lr": "reference", "ref_momentum": "reference"}
"""Options that only some ways to predict use -> fields of `Extras`."""


def run(given: dict[str, Any]) -> None:
    """Predict from the options in `given`, None for those not given, and print the answer."""
    for one, other in (_REFERENCE, _REFERENCE[::-1]):
        if is_given(given[other.name]) and not is_given(given[one.name]):
            raise InputError(one.flag, "nothing", f"a number, beside {other.flag}")
    if is_given(given["problem"]):
        _predict_problem(given)
        return
    if any(is_given(given[name]) for name in ("ref_lr", "ref_momentum")):
        form = _REFERENCE_FORM
    elif any(is_given(given[name]) for name in ("noise", "curvature")):
        form = _GEOMETRY_FORM
    else:
        raise InputError("options", "another combination", "--ref-lr with --ref-momentum, --noise with --curvature, or --problem")
    _predict_numbers(form.values(given, FORMS))


def _predict_numbers(values: dict[str, Any]) -> None:
    from ..predictors.momentum_rule import MomentumRule

    if "ref_lr" in values:
        rule = MomentumRule.from_reference(values["ref_lr"], values["ref_momentum"])
    else:
        rule = MomentumRule.from_geometry(values["noise"], values["curvature"], explicit_curvature=values["weight_decay"])
    lr = values["lr"]
    result = {
        "lr": lr,
        "momentum": float(rule.momentum(lr)),
        "one_minus_beta": float(rule.one_minus_beta(lr)),
        "clamped": bool(rule.clamped(lr)),
        "source": rule.source,
    }
    typer.echo(json.dumps(result) if values["json"] else f"momentum {result['momentum']:.6f}\n{rule.explain(lr)}")


def _predict_problem(given: dict[str, Any]) -> None:
    import sde_momentum as sm

    entry = built_in(given["problem"])
    values = chosen_form(_PROBLEM_FORMS, entry.name).values(given, FORMS)
    sigma = float(check_positive(values["label_noise"], "--label-noise"))
    check_target(entry, given, values["metric"])
    _refuse_for_ways(given)
    reference = None
    if values["ref_lr"] is not None or values["ref_momentum"] is not None:
        reference = values["ref_lr"], values["ref_momentum"]
    if values["plot"] is not None:
        check_picture("--plot", values["plot"])
    problem, start = set_up(entry, given)
    problem.find_metric(values["metric"], "--metric")
    with track("predict", 1):  # shows the elapsed time; slow ways have progress bars of their own
        answer = sm.predict(
            problem,
            values["lr"],
            noise=sm.LabelNoiseSGD(problem, sigma).noise,
            start=start,
            target=(values["metric"], values["fraction"]),
            methods=values["method"] or None,
            reference=reference,
            store=values["store"],
            nesterov=values["nesterov"],
        )
    if values["plot"] is not None:
        _draw(answer, values["plot"])
    typer.echo(json.dumps(answer.to_dict()) if values["json"] else str(answer))


def _refuse_for_ways(given: dict[str, Any]) -> None:
    """Raise InputError for an option that no requested way to predict uses."""
    from ..predictors.ways.registry import WAYS, users

    for way in given["method"] or ():
        if way not in WAYS:
            raise InputError("--method", way, ", ".join(WAYS))
    for name, extra in _EXTRAS.items():
        used = not given["method"] or any(extra in WAYS[way].uses for way in given["method"])
        if is_given(given[name]) and not used:
            raise InputError(f"--{name.replace('_', '-')}", given[name], f"nothing without --method {users(extra)}")
    if is_given(given["store"]) and given["nesterov"]:
        raise InputError("--store", given["store"], "nothing with --nesterov: the critical limit does not describe it")


def _draw(answer: Any, plot: Path) -> None:
    import matplotlib

    from ..figures.style import STYLE, render

    with matplotlib.rc_context(STYLE):
        content = render(answer.plot().get_figure(), plot.suffix[1:])
    write_whole(plot, lambda file: file.write(content))


predict = build(
    run,
    union(FORMS),
    "Predict the best momentum for a learning rate: from a tuned pair, from noise and curvature, or for a built-in problem.\n\n"
    "Example: sde-momentum predict --lr 0.01 --ref-lr 0.1 --ref-momentum 0.9",
)
