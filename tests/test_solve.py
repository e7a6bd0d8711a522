"""`solve`: one way in to every dynamics, and what their answers have in common."""

from __future__ import annotations

import inspect
from functools import partial

import numpy as np
import pytest
import xarray as xr

import sde_momentum as sm
from sde_momentum.core.dynamics import Dynamics

SENSING = sm.MatrixSensing(3, 1, 4)
START = SENSING.interpolating_start()
SEEDS = {"seeds": [3, 5], "step": 0.5}
TRAINING = {"seeds": [3, 5], "lr": 0.1, "momentum": 0.9}
PATHS = {"n_paths": 8, "seed": 3, "step": 0.5}
# every dynamics, a start, and the options that it cannot do without or that keep it short
MEMBERS = [
    (sm.SDE(lambda x, t, p: -x, lambda x, t, p: 0.5), 1.0, PATHS),
    (sm.sde.OrnsteinUhlenbeck(1.0, 0.5), 1.0, PATHS),
    (sm.sde.Langevin(lambda q, t, p: -q), [1.0, 0.0], PATHS),
    (sm.LabelNoiseSGD(SENSING, 0.1), START, TRAINING),
    (sm.DriftDiffusion(SENSING, lambda w: 0.01 * np.eye(len(w))), START, SEEDS),
    (sm.CriticalLimit(SENSING), START, SEEDS | {"kappa": [0.1, 0.2]}),
    (sm.dynamics.CriticalValley(sm.Valley.balanced(2, 1.0, 0.1)), 1.0, PATHS | {"kappa": [0.1, 0.2]}),
]


def its_solve(dynamics):
    """Of an equation: the engine's."""
    return dynamics.solve if isinstance(dynamics, Dynamics) else partial(sm.sde.solve, dynamics)


members = pytest.mark.parametrize(("dynamics", "start", "how"), MEMBERS, ids=[type(m[0]).__name__ for m in MEMBERS])


@members
def test_every_answer_has_the_clock_the_step_the_seeds_and_the_version(dynamics, start, how):
    times = [1, 2] if "lr" in how else [0.5, 1.0]
    result = sm.solve(dynamics, start, times, **how)
    assert result.attrs["dynamics"] == type(dynamics).__name__
    assert result.attrs["version"] == sm.__version__
    assert result.attrs["step"] == how.get("step", 1)
    assert result.time.values.tolist() == times
    assert result.attrs["clock"] == result.time.attrs["clock"] == getattr(dynamics, "clock", "the equation's own t")
    assert result.time.attrs["units"] == getattr(dynamics, "time_units", "the equation's own t")
    if "seeds" in how:
        assert result.seed.values.tolist() == [3, 5]
    else:
        assert (result.attrs["seed"], result.attrs["n_paths"]) == (3, 8)


@members
def test_solve_is_the_method_and_shows_its_progress_alike(dynamics, start, how, capfd):
    times = [1, 2] if "lr" in how else [0.5, 1.0]
    own = its_solve(dynamics)(start, times, **how, workers=1)
    assert capfd.readouterr().err == ""
    assert own.identical(sm.solve(dynamics, start, times, **how, workers=2, progress=True))
    assert own.identical(sm.solve(dynamics, start, times, **how, workers=4))
    shown = capfd.readouterr().err  # off a terminal: a line at once, and one every ten seconds
    assert shown.startswith(("paths: ", "runs: "))
    assert shown.count("passed") >= 1
    with pytest.raises(sm.InputError, match="progress: given 1; allowed: True, False, or None"):
        sm.solve(dynamics, start, times, **how, progress=1)
    with pytest.raises(sm.InputError, match="workers: given 0; allowed: -1"):
        sm.solve(dynamics, start, times, **how, workers=0)


@members
def test_every_answer_survives_a_file(dynamics, start, how, tmp_path):
    result = sm.solve(dynamics, start, [1, 2], **how)
    result.to_netcdf(tmp_path / "answer.nc", engine="h5netcdf")
    assert xr.load_dataset(tmp_path / "answer.nc", engine="h5netcdf").equals(result)


@members
def test_a_misspelt_option_is_a_type_error_and_every_option_is_named(dynamics, start, how):
    with pytest.raises(TypeError, match="unexpected keyword argument 'steps'"):
        sm.solve(dynamics, start, [1], **how, steps=0.1)
    kinds = {p.kind for p in inspect.signature(its_solve(dynamics)).parameters.values()}
    assert kinds == {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    assert inspect.getdoc(getattr(its_solve(dynamics), "func", its_solve(dynamics))) != inspect.getdoc(Dynamics.solve)


def test_what_is_no_dynamics_is_refused():
    with pytest.raises(sm.InputError, match=r"system: given .*; allowed: an equation, such as SDE, or a dynamics"):
        sm.solve(lambda w: w, 1.0, [1.0])
    with pytest.raises(sm.InputError, match="valley: given 3; allowed: a Valley"):
        sm.dynamics.CriticalValley(3)
    with pytest.raises(sm.InputError, match=r"factor: given 0\.1; allowed: a function"):
        sm.DriftDiffusion(SENSING, 0.1)
