"""The registry of built-in problems: every entry makes its problem and its starts, and its options do something."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from sde_momentum.core.errors import InputError
from sde_momentum.core.options import fill
from sde_momentum.problems import registry

pytest.importorskip("sympy")

from derivations.problems import BUILT_IN

ROOT = Path(__file__).parent.parent
KNOWN = [*registry._OWN, *BUILT_IN]
VALUES = {"d": 5, "rank": 2, "measurements": 12, "modes": 4, "curvature": 2.0, "coupling": 0.5, "samples": 2, "outputs": 3}
VALUES |= {"dimension": 3, "target_output": 2.0, "imbalance": 3.0, "features": 20, "relevant_features": 2, "inputs": 6}
VALUES |= {"hidden": 12, "teacher_units": 2, "problem_seed": 1}


def another(option):
    """A value that is not the default; twice it where VALUES has none."""
    return VALUES.get(option.name, 2 * option.default or 1)


@pytest.fixture
def with_entry_points(monkeypatch):
    """The entry points of this repository, also where an older state of it is installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [EntryPoint(name, value, "") for name, value in project["entry-points"][registry.ENTRY_POINTS].items()]
    monkeypatch.setattr(registry, "entry_points", lambda group: lines if group == registry.ENTRY_POINTS else [])
    registry.built_in_problems.cache_clear()
    yield
    registry.built_in_problems.cache_clear()


def test_the_entry_points_add_the_symbolic_models(with_entry_points):
    assert list(registry.built_in_problems().values()) == KNOWN
    with pytest.raises(InputError, match=f"--problem: given banana; allowed: {', '.join(entry.name for entry in KNOWN)}"):
        registry.built_in("banana")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module:PROBLEM", "built-in problems of no_such_module:PROBLEM are left out: No module"),
        ("derivations.problems:NOTHING", "built-in problems of derivations.problems:NOTHING are left out"),
        ("sde_momentum.problems.registry:COPY", "valley of sde_momentum.problems.registry:COPY is left out: there is a problem"),
    ],
)
def test_an_entry_point_that_gives_no_new_problem_is_named_and_left_out(monkeypatch, value, message):
    monkeypatch.setattr(registry, "COPY", replace(registry._OWN[1], help="another"), raising=False)
    monkeypatch.setattr(registry, "entry_points", lambda group: [EntryPoint("x", value, group)])
    with pytest.warns(UserWarning, match=message):
        found = registry.built_in_problems.__wrapped__()
    assert list(found.values()) == list(registry._OWN)


@pytest.mark.parametrize("entry", KNOWN, ids=lambda entry: entry.name)
def test_every_option_changes_the_problem_or_its_start(entry):
    defaults = fill(entry.options, {})
    plain = entry.make(defaults).settings()
    for option in entry.options:
        values = defaults | {option.name: another(option)}
        if entry.make(values).settings() == plain:
            before, after = entry.setup()[1], entry.setup(**{option.name: another(option)})[1]
            assert not np.array_equal(before, after), option.name


@pytest.mark.parametrize("entry", [entry for entry in KNOWN if entry.name != "two-layer-tanh"], ids=lambda entry: entry.name)
def test_the_starts_are_points_and_the_first_is_on_the_manifold(entry):
    small = {"features": 6, "samples": 3} if entry.name == "diagonal-linear" else {}
    for start in entry.starts:
        problem, w = entry.setup(start.name, **small)
        assert problem.name == entry.name
        assert w.shape == (problem.n_parameters,)
        if start.name in ("interpolating", "flattest"):
            assert problem.loss(w) < 1e-20
    problem, first = entry.setup(**small)
    metric, fraction = entry.target
    assert problem.metric(metric, first) > 0
    assert 0 < fraction < 1


def test_the_random_start_is_the_one_from_which_the_interpolating_one_is_reached():
    entry = registry.built_in("matrix-sensing")
    problem, start = entry.setup("random", start_seed=3)
    np.testing.assert_array_equal(start, problem.random_start(8**-0.5, 3))
    np.testing.assert_array_equal(entry.setup(start_seed=3)[1], problem.interpolating_start(seed=3))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("valley", {"start": "random"}, "--start: given random; allowed: interpolating or flattest"),
        ("valley", {"start": "flattest", "start_theta": 1.0}, "--start-theta: given 1.0; allowed: not with --start flattest"),
        ("valley", {"rank": 2}, "rank: given 2; allowed: options of valley: modes, curvature, coupling, start_theta"),
        ("valley", {"modes": 3}, "n_modes: given 3; allowed: an even number"),
        ("matrix-sensing", {"rank": 9}, "rank: given 9; allowed: a whole number from 1 to d = 8"),
    ],
)
def test_what_cannot_be_made_is_refused(name, arguments, message):
    with pytest.raises(InputError, match=message):
        registry.built_in(name).setup(**arguments)
