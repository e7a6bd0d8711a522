"""The command `sde-momentum predict`: the best momentum for a learning rate, from numbers or for a training problem."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..core.errors import InputError, check_integer, check_non_negative, check_one, check_positive, check_size
from ..core.options import REQUIRED, Form, Option, is_given, union
from ..core.progress import note, track
from ..problems.registry import built_in, built_in_problems
from .build import build
from .common import (
    FRACTION,
    JSON,
    LABEL_NOISE,
    NESTEROV,
    check_picture,
    check_target,
    chosen_form,
    geometry_options,
    problem_form,
    save_plot,
    say,
    set_up,
    tell,
)

if TYPE_CHECKING:
    from ..predictors.prediction import Prediction
    from ..problems.problem import Array, Problem

_LR = Option("lr", float, REQUIRED, "learning rate to predict for")
_PAIR, _GEOMETRY, _HOW = "From a tuned pair", "From noise and curvature", "How to predict"
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
_ASKED = (
    _LR,
    Option("budget", float, None, "seconds that the trials may take, 20 unless given", _HOW),
    Option("smallest_trial_lr", float, None, "trials are run at this learning rate and above, and carried to --lr", _HOW),
    Option("theory", bool, False, "no trials: theory's ways alone, combined", _HOW),
    Option("method", list[str], (), "way to predict: 'trial', 'closed form', ...; repeat for several (default: trial)", _HOW),
    Option("seed", int, None, "seed of the trials' noise, 0 unless given", _HOW),
    *_REFERENCE,
    NESTEROV,
    Option("weight_decay", float, None, "weight decay of the training, as in torch.optim.SGD, in loss / parameter^2", _HOW),
    Option("store", Path, None, "folder that keeps universal curves of the critical limit between calls", _HOW),
    Option("plot", Path, None, "picture of trials, theory's curves and the answer: .png, .svg or .pdf"),
    JSON,
)
"""Options of a prediction for a training problem."""
_PROBLEM_FORMS = {
    problem.name: problem_form(problem, None, _ASKED, choose_start=True, target=True) for problem in built_in_problems().values()
}
_MODEL = "Model of your own"
_MODEL_FORM = Form(
    "--model",
    (
        Option(
            "model",
            str,
            REQUIRED,
            "FILE.py:NAME: a problem, a symbolic model, a function of w with its targets, or one that makes these",
            _MODEL,
        ),
        replace(geometry_options(_MODEL)[0], default=None),
        Option("label_noise", float, None, LABEL_NOISE, _MODEL),
        Option("metric", str, None, "metric of the target (default, with that of --fraction: the problem's own)", _MODEL),
        Option("fraction", float, None, FRACTION, _MODEL),
        *_ASKED,
    ),
)
FORMS = (_REFERENCE_FORM, _GEOMETRY_FORM, *_PROBLEM_FORMS.values(), _MODEL_FORM)
_WAYS_TO_ASK = (
    "one of --problem NAME (a built-in training), --model FILE.py:NAME (your own), --ref-lr with --ref-momentum (a tuned pair), "
    "--noise with --curvature (numbers)"
)
_TRIAL = "trial"  # the way that theory alone leaves out
_EXTRAS = {
    "budget": "budget",
    "smallest_trial_lr": "smallest_trial_lr",
    "seed": "seed",
    "store": "store",
    "nesterov": "nesterov",
    "weight_decay": "weight_decay",
    "ref_lr": "reference",
    "ref_momentum": "reference",
}
"""Options that only some ways to predict use -> fields of `Extras`."""


def run(given: dict[str, Any]) -> None:
    """Predict from the options in `given`, None for those not given, and print the answer."""
    for one, other in (_REFERENCE, _REFERENCE[::-1]):
        if is_given(given[other.name]) and not is_given(given[one.name]):
            raise InputError(one.flag, "nothing", f"a number, beside {other.flag}")
    if is_given(given["problem"]) or is_given(given["model"]):
        with track("predict", 1):  # from here on: imports take a second, some starts several
            answer, values = _predict_problem(given) if is_given(given["problem"]) else _predict_model(given)
            if values["plot"] is not None:
                save_plot(answer, values["plot"])
        tell(answer, values["json"])
        return
    if any(is_given(given[name]) for name in ("ref_lr", "ref_momentum")):
        form = _REFERENCE_FORM
    elif any(is_given(given[name]) for name in ("noise", "curvature")):
        form = _GEOMETRY_FORM
    else:
        flags = [f"--{name.replace('_', '-')}" for name, value in given.items() if is_given(value) and value is not False]
        raise InputError("predict", f"{', '.join(flags) or 'no option'} alone", f"with {_WAYS_TO_ASK}")
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
    if values["json"]:
        typer.echo(json.dumps(result))
    else:
        say(f"momentum {result['momentum']:.6f}\n{rule.explain(lr)}")


def _predict_problem(given: dict[str, Any]) -> tuple[Prediction, dict[str, Any]]:
    """The answer for a built-in problem, and the values of the options."""
    entry = built_in(given["problem"])
    values = chosen_form(_PROBLEM_FORMS, entry.name).values(given, FORMS)
    sigma = check_one(check_positive, check_size(values["label_noise"], "--label-noise"), "--label-noise")
    check_target(entry, given, values["metric"])
    settings = _settings(given, values)
    note(f"making {entry.name}")
    problem, start = set_up(entry, given)
    return _predict(problem, start, values, settings, sigma), values


def _predict_model(given: dict[str, Any]) -> tuple[Prediction, dict[str, Any]]:
    """The answer for a model of the user's own, and the values of the options."""
    values = _MODEL_FORM.values(given, FORMS)
    if (values["noise"] is None) == (values["label_noise"] is None):
        both = "nothing" if values["noise"] is None else "both"
        raise InputError("--noise or --label-noise", both, "one of the two: c, or sigma with c = sigma^2 / outputs")
    for one, other in (("metric", "fraction"), ("fraction", "metric")):
        if values[one] is not None and values[other] is None:
            raise InputError(f"--{other}", "nothing", f"a value, beside --{one}")
    settings, sigma = _settings(given, values), None
    if values["noise"] is not None:
        settings["noise"] = check_one(check_positive, values["noise"], "--noise")
    else:
        sigma = check_one(check_positive, check_size(values["label_noise"], "--label-noise"), "--label-noise")
    note(f"loading {values['model']}")
    from ..problems.load import load_problem

    problem, start = load_problem(values["model"])
    return _predict(problem, start, values, settings, sigma), values


def _predict(
    problem: Problem, start: Array | None, values: dict[str, Any], settings: dict[str, Any], sigma: float | None
) -> Prediction:
    """The library's answer; sigma is turned into the strength c."""
    import sde_momentum as sm

    if values["metric"] is not None:
        problem.find_metric(values["metric"], "--metric")
        settings = settings | {"target": (values["metric"], values["fraction"])}
    if sigma is not None:
        settings = settings | {"noise": sm.LabelNoiseSGD(problem, sigma).noise}
    note("")  # `predict` says itself what it does
    return sm.predict(problem, values["lr"], start=start, **settings)


def _settings(given: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Keywords of `sm.predict` that do not depend on the problem. Raises InputError for an option that nothing would use."""
    for name in ("budget", "smallest_trial_lr"):
        if values[name] is not None:
            check_one(check_positive, values[name], f"--{name.replace('_', '-')}")
    if values["weight_decay"] is not None:
        check_one(check_non_negative, values["weight_decay"], "--weight-decay")
    if values["seed"] is not None:
        check_integer(values["seed"], "--seed", 0)
    if values["plot"] is not None:
        check_picture("--plot", values["plot"])
    if values["store"] is not None and values["store"].exists() and not values["store"].is_dir():
        raise InputError("--store", values["store"], "a folder")
    _refuse_for_ways(given)
    return {
        "methods": "theory" if values["theory"] else list(values["method"]) or None,
        "reference": None if values["ref_lr"] is None else (values["ref_lr"], values["ref_momentum"]),
        **{name: values[name] for name in ("budget", "smallest_trial_lr", "seed", "store", "nesterov", "weight_decay")},
    }


def _refuse_for_ways(given: dict[str, Any]) -> None:
    """Raise InputError for an option that no requested way to predict uses; where none is requested the library decides."""
    from ..predictors.ways.registry import WAYS, users

    if given["theory"] and is_given(given["method"]):
        raise InputError("--method", given["method"][0], "not with --theory, which asks every way that needs no trial")
    for way in given["method"] or ():
        if way not in WAYS:
            raise InputError("--method", way, ", ".join(WAYS))
    asked = [name for name in WAYS if name != _TRIAL] if given["theory"] else list(given["method"] or ())
    for name, extra in _EXTRAS.items():
        used = not asked or any(extra in WAYS[way].uses for way in asked) or (given["theory"] and name == "budget")
        if is_given(given[name]) and not used:
            raise InputError(f"--{name.replace('_', '-')}", given[name], f"only with --method {users(extra)}")
    if is_given(given["store"]) and given["nesterov"]:
        raise InputError(
            "--store", given["store"], "not with --nesterov: the universal curves that it keeps are of heavy-ball momentum"
        )


predict = build(
    run,
    union(FORMS),
    "Predict the best momentum for a learning rate: by trials on a training problem, from a tuned pair, or from numbers.\n\n"
    "Example: sde-momentum predict --lr 0.01 --problem matrix-sensing",
)
