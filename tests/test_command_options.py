"""The options of every command: what a form does not use is refused, what it uses changes the answer."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

import sde_momentum as sm
from sde_momentum.commands import main, simulate
from sde_momentum.core.errors import InputError
from sde_momentum.core.options import REQUIRED, Form, Option, default_text, fill, union

EVERY_MODULE = {name: import_module(f"sde_momentum.commands.{name.replace('-', '_')}") for name in main.COMMANDS}
MODULES = {name: module for name, module in EVERY_MODULE.items() if hasattr(module, "FORMS")}
SAMPLES = {float: 0.5, int: 3, str: "x", bool: True, Path: Path("x.png"), list[float]: [0.5], list[str]: ["closed form"]}
SELECTORS = {"problem", "model", "noise", "curvature", "eigenvalue", "ref_lr", "ref_momentum"}
"""Options that choose the form: beside those of another form, either may be the one that is refused."""


def given(module, form, **values):
    """The options as the command line hands them on: None where one is not given, those that must be given by a sample."""
    required = {option.name: SAMPLES[option.kind] for option in form.options if option.default is REQUIRED}
    if form.name.startswith("--problem"):
        required["problem"] = form.name.split()[1]
    if form.name == "--model":
        required |= {"noise": 1e-3}
    if form.name.startswith("--ref"):
        required |= {"ref_lr": 0.1, "ref_momentum": 0.9}
    return dict.fromkeys(option.name for option in union(module.FORMS)) | required | values


UNUSED = [
    pytest.param(module, form, option, id=f"{name} {form.name} with {option.flag}")
    for name, module in MODULES.items()
    for form in module.FORMS
    for option in union(module.FORMS)
    if option.name not in {own.name for own in form.options}
]


@pytest.mark.parametrize(("module", "form", "option"), UNUSED)
def test_an_option_that_a_form_does_not_use_is_refused(module, form, option):
    with pytest.raises(InputError) as refused:
        module.run(given(module, form, **{option.name: SAMPLES[option.kind]}))
    assert "\n" not in str(refused.value)
    if option.name not in SELECTORS:
        assert refused.value.argument == option.flag
        assert f"not with {form.name}, only with --" in str(refused.value)


NUMBERS = {"noise": 1e-3, "curvature": 2.0, "eigenvalue": [0.5, 2.0], "coupling": 5.0}
SENSING = {"problem": "matrix-sensing", "d": 4, "measurements": 12}
VALLEY = {"problem": "valley", "modes": 4, "coupling": 0.5}
OTHER_SENSING = {
    "start": "random",
    "d": 5,
    "rank": 2,
    "measurements": 13,
    "problem_seed": 1,
    "start_seed": 1,
    "problem": ("valley", {"d": None, "measurements": None}),
}
RUN = {"lr": [0.05], "momentum": [0.5], "steps": 20, "records": 2, "seeds": 2}
MODEL = {"model": "chain.py:chain", "lr": 0.01}
LOSS = {"lr": 0.01, "method": ["effective loss", "critical limit"]}
USED = [
    ("predict", {"lr": 0.01, "ref_lr": 0.1, "ref_momentum": 0.9}, {"lr": 0.02, "ref_lr": 0.2, "ref_momentum": 0.8}),
    (
        "predict",
        {"lr": 0.01, "noise": 1e-3, "curvature": 1.0},
        {"lr": 0.02, "noise": 2e-3, "curvature": 2.0, "weight_decay": 0.1},
    ),
    (
        "predict",
        LOSS | SENSING,
        {
            "lr": 0.02,
            "label_noise": 0.2,
            "metric": ("trace_hessian", {"fraction": 0.9}),
            "fraction": 0.2,
            "method": ["closed form"],
            "nesterov": True,
            "store": Path("curves"),
            **OTHER_SENSING,
        },
    ),
    (
        "predict",
        LOSS | {"problem": "valley", "ref_lr": 0.1, "ref_momentum": 0.9, "method": ["transfer", "effective loss"]},
        {"ref_lr": 0.2, "ref_momentum": 0.8, "modes": 4, "curvature": 2.0, "coupling": 0.5, "start_theta": 1.5},
    ),
    (
        "predict",
        VALLEY | {"lr": 0.01},
        {"budget": 5.0, "smallest_trial_lr": 0.02, "weight_decay": 0.1, "seed": 1, "theory": True, "store": Path("curves")},
    ),
    (
        "predict",
        MODEL | {"noise": 1e-3},
        {
            "model": "chain.py:deeper",
            "lr": 0.02,
            "noise": 2e-3,
            "label_noise": (0.1, {"noise": None}),
            "metric": ("trace_hessian", {"fraction": 0.8}),
            "fraction": (0.8, {"metric": "trace_hessian"}),
            "ref_lr": (0.1, {"ref_momentum": 0.9}),
            "ref_momentum": (0.9, {"ref_lr": 0.1}),
            "budget": 5.0,
            "smallest_trial_lr": 0.02,
            "weight_decay": 0.1,
            "seed": 1,
            "theory": True,
            "method": ["closed form"],
            "nesterov": True,
            "store": Path("curves"),
        },
    ),
    (
        "simulate",
        RUN | SENSING,
        {
            "lr": [0.02],
            "momentum": [0.6],
            "steps": 30,
            "records": 4,
            "seeds": 3,
            "seed": 1,
            "batch_size": 5,
            "weight_decay": 0.1,
            "nesterov": True,
            "label_noise": 0.2,
            **OTHER_SENSING,
        },
    ),
    (
        "simulate",
        RUN | VALLEY,
        {"modes": 6, "curvature": 2.0, "coupling": 0.2, "start_theta": 1.5, "start": "flattest"},
    ),
    (
        "phase-diagram",
        NUMBERS,
        {
            "noise": 2e-3,
            "curvature": 1.0,
            "eigenvalue": [1.0, 3.0],
            "coupling": 4.0,
            "fraction": 0.2,
            "band": 0.5,
            "weight_decay": 0.1,
            "nesterov": True,
            "lr_min": 1e-3,
            "lr_max": 0.5,
        },
    ),
    (
        "phase-diagram",
        SENSING | {"fraction": 0.6},
        {
            "d": 5,
            "rank": 2,
            "measurements": 13,
            "problem_seed": 1,
            "start_seed": 1,
            "label_noise": 0.2,
            "fraction": 0.7,
            "metric": ("trace_hessian", {"fraction": 0.9}),
            "problem": ("valley", {"d": None, "measurements": None}),
        },
    ),
    ("phase-diagram", VALLEY, {"modes": 6, "curvature": 2.0, "coupling": 0.2, "start_theta": 1.5}),
]
FILES = {"json", "out", "data", "plot", "results"}
"""Options of form and files of the output, tested with each command."""


@pytest.fixture
def output(capsys, tmp_path, monkeypatch):
    """What a command prints for machines, or, of a long prediction, what it is asked: output(name, options)."""
    pytest.importorskip("matplotlib")

    class Asked(dict):
        to_dict = dict.copy

    def ask(problem, lr, *, start, store, **how):
        return Asked(problem=problem.settings(), lr=lr, start=start.tolist(), **how, store=str(store))

    def load(text):
        valley = sm.Valley.balanced({"chain.py:chain": 4, "chain.py:deeper": 6}[text], 1.0, 0.5)
        return valley, valley.start(2.0)

    monkeypatch.setattr(sm, "predict", ask)
    monkeypatch.setitem(sys.modules, "sde_momentum.problems.load", SimpleNamespace(load_problem=load))
    monkeypatch.setattr("sde_momentum.figures.phase_diagram.phase_diagram", lambda tidy, measured: None)
    monkeypatch.setattr("sde_momentum.figures.style.render", lambda figure, kind: b"")
    monkeypatch.chdir(tmp_path)

    def run(name, options):
        module = MODULES[name]
        names = dict.fromkeys(option.name for option in union(module.FORMS))
        module.run(names | {"json": True} | options)
        return json.loads(capsys.readouterr().out)

    return run


@pytest.mark.parametrize(("name", "base", "changes"), USED, ids=[f"{name} {' '.join(base)}" for name, base, _ in USED])
def test_every_option_that_a_form_uses_changes_the_answer(output, name, base, changes):
    plain = output(name, base)
    assert output(name, base) == plain
    for option, change in changes.items():
        value, beside = change if isinstance(change, tuple) else (change, {})
        assert output(name, base | {option: value} | beside) != plain, option


def test_the_list_of_changes_is_complete():
    for name, module in MODULES.items():
        changed = {option for of, _, changes in USED if of == name for option in changes}
        own = {
            option.name
            for form in module.FORMS
            if not form.name.startswith("--problem") or form.name.split()[1] in ("matrix-sensing", "valley")
            for option in form.options
        }
        assert own - FILES == changed


@pytest.mark.parametrize("problem", ["matrix-sensing", "valley"])
def test_every_default_is_what_the_help_says(output, problem):
    form = next(form for form in simulate.FORMS if form.name == f"--problem {problem}")
    filled = {option.name: option.default for option in form.options}
    assert output("simulate", RUN | {"problem": problem}) == output("simulate", filled | RUN | {"problem": problem, "json": True})


def test_two_forms_share_one_option_with_both_defaults_in_its_help():
    forms = [Form("--a", (Option("n", int, 1, "number"),)), Form("--b", (Option("n", int, 2, "number"),))]
    assert [option.help for option in union(forms)] == ["number (default: 1 with --a; default: 2 with --b)"]
    assert forms[0].values({"n": None}, forms) == {"n": 1}
    with pytest.raises(InputError, match="--n: given nothing; allowed: a value: number"):
        fill([Option("n", int, REQUIRED, "number")], {})


def call(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["sde-momentum", *words])
    with pytest.raises(SystemExit) as stop:
        main.main()
    return (stop.value.code or 0, *capsys.readouterr())


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "--lr", "x"),
        ("predict", "--unknown"),
        ("unknown",),
        ("predict",),
        ("predict", "--lr", "0.1", "--problem", "banana"),
        ("predict", "--lr", "0.1", "--noise", "1e-3"),
        ("predict", "--lr", "0.1", "--model", "chain.py:f"),
        ("predict", "--lr", "0.1", "--problem", "valley", "--budget", "-1"),
        ("predict", "--lr", "0.1", "--lr", "0.2", "--ref-lr", "0.1", "--ref-momentum", "0.9"),
        ("derive", "crossing", "--format", "text", "--format", "html"),
        ("simulate", "--lr", "0.1"),
        ("simulate", "--lr", "0.1", "--momentum", "0.9", "--seeds", "1"),
        ("estimate", "--lr", "0.1"),
    ],
)
def test_bad_input_is_one_line_and_status_2(monkeypatch, capsys, words):
    status, text, error = call(monkeypatch, capsys, *words)
    assert (status, text, error.count("\n")) == (2, "", 1)
    assert error.startswith("sde-momentum: ")


def test_the_version_and_both_ways_to_the_help(monkeypatch, capsys):
    assert call(monkeypatch, capsys, "--version") == (0, f"sde-momentum {sm.__version__}\n", "")
    assert call(monkeypatch, capsys, "-h") == call(monkeypatch, capsys, "--help")
    for name in main.COMMANDS:
        status, text, _ = call(monkeypatch, capsys, name, "-h")
        assert status == 0
        assert f"Example: sde-momentum {name}" in text


def test_every_option_says_its_default_and_the_help_shows_it(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "1500")
    for name in main.COMMANDS:
        options = union(MODULES[name].FORMS) if name in MODULES else EVERY_MODULE[name].OPTIONS
        text = call(monkeypatch, capsys, name, "--help")[1]
        for option in options:
            assert option.flag in text
            assert any(option.help in line and default_text(option) in line for line in text.splitlines()), option.flag


def test_help_imports_nothing_heavy():
    code = "import sys; from sde_momentum.commands.main import app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "typer" in loaded
    assert not {"numba", "torch", "sympy", "matplotlib", "xarray"} & set(loaded)
