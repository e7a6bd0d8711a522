"""AutoMomentum: smooth, within its budget, repeatable."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sensing_module import Sensing, data_of, half_square

import sde_momentum as sm
from sde_momentum.core.errors import InputError
from sde_momentum.training import QUICK, MomentumUpdates

pytestmark = pytest.mark.usefixtures("one_torch_thread")
PROBLEM = sm.MatrixSensing(6, 1, 20)
START = PROBLEM.interpolating_start()
DATA = data_of(PROBLEM)
NOISE = 0.1


class Run:
    def __init__(self, momentum=0.5, lr=0.05, **options):
        self.model = Sensing(PROBLEM, START)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=lr, momentum=momentum)
        updates = MomentumUpdates(**{"every": 20, "budget": None, "estimator": replace(QUICK, n_samples=20), **options})
        self.auto = sm.training.AutoMomentum(self.optimizer, self.model, half_square, DATA, label_noise=NOISE, updates=updates)

    def point(self):
        return torch.cat([p.detach().ravel() for p in self.model.parameters()]).numpy()

    def train(self, steps):
        deltas = []
        for k in steps:
            noise = NOISE * torch.randn(20, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
            self.optimizer.zero_grad()
            half_square(self.model(DATA[0]), DATA[1] + noise).backward()
            self.optimizer.step()
            deltas.append(1 - self.optimizer.param_groups[0]["momentum"])
        return deltas


def test_it_moves_smoothly_and_arrives_at_what_was_estimated():
    run = Run()
    deltas = np.array(run.train(range(121)))
    ratio = np.abs(np.diff(np.log(deltas)))
    assert ratio[40:].max() <= math.log(2) / 20 * (1 + 1e-9)  # a factor of 2 over 20 steps at most, after the first estimate
    assert np.allclose(ratio[20:38], ratio[20], rtol=1e-6)  # and even from step to step during it
    assert ratio[20] > math.log(2) / 20
    assert len(run.auto.estimates) == 6
    step, last = run.auto.estimates[-2]
    wanted = max(last.one_minus_beta + last.one_minus_beta_se, last.edge_one_minus_beta)
    assert deltas[step + 19] == pytest.approx(wanted, rel=1e-9)  # within a factor of 2 of the one before


def test_every_estimate_is_the_rule_at_the_exact_geometry_of_the_path():
    """c = sigma^2 / P and mu along the displacement since the last estimate, at the point of Gamma next to training.

    Two-sided at 3.5 standard errors each: 0.3 % for six independent ones. Over 8 seeds of the label noise the errors were between
    -1.5 and 0.8 of them.
    """
    run = Run()
    before = run.point()
    for k in range(6):
        run.train(range(20 * k, 20 * k + 20))
        here = run.point()
        flat = sm.ManifoldPoint(PROBLEM, sm.problems.project_to_manifold(PROBLEM, here), rank_tolerance=1e-3)
        exact = sm.MomentumRule.from_geometry(NOISE**2 / 20, flat.curvature(here - before)).one_minus_beta(0.05)
        found = run.auto.estimates[-1][1]
        assert found.one_minus_beta == pytest.approx(exact, abs=3.5 * found.one_minus_beta_se)
        assert found.one_minus_beta_se < 0.1 * exact
        before = here


def test_it_follows_lr_between_estimates():
    run = Run(every=1000)
    run.train(range(1))
    run.optimizer.param_groups[0]["lr"] = 0.05 / 8
    assert run.train(range(1, 2))[0] == pytest.approx(0.5 / 4)


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path):
    whole, first, second = Run(), Run(), Run()
    whole.train(range(90))
    first.train(range(45))
    parts = {name: getattr(first, name).state_dict() for name in ("model", "optimizer", "auto")}
    torch.save(parts, tmp_path / "state.pt")
    for name, state in torch.load(tmp_path / "state.pt").items():
        getattr(second, name).load_state_dict(state)
    second.train(range(45, 90))
    for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("cost", [0.01, 3.0])
def test_estimates_stay_within_the_budget(cost, monkeypatch):
    """A clock by hand: a step takes 1, an estimate 40 times `cost`, a pass `cost`."""
    now = [0.0]
    monkeypatch.setattr(sm.training.AutoMomentum, "_clock", staticmethod(lambda: now[0]))
    run = Run(budget=0.05, every=10)
    run.auto._expected_cost = 40 * cost  # as timed, had the passes taken that long

    def estimate():
        now[0] += 40 * cost
        run.auto.estimates.append((run.auto.steps, None))

    monkeypatch.setattr(run.auto, "_estimate", estimate)
    for _ in range(6000):
        now[0] += 1
        run.auto._after_step()
        assert run.auto.spent <= 0.05 * (now[0] - run.auto.spent)
    allowed = 0.05 * 6000 / (40 * cost)
    assert len(run.auto.estimates) >= min(math.floor(0.9 * allowed), 590)
    assert run.auto.estimates


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"every": 0}, "every: given 0; allowed: a whole number >= 1"),
        ({"budget": 1.5}, "budget: given 1.5; allowed: a number in"),
        ({"max_factor": 1.0}, "max_factor: given 1.0; allowed: a factor > 1"),
    ],
)
def test_bad_input_says_what_is_allowed(options, text):
    with pytest.raises(InputError) as error:
        Run(**options)
    assert str(error.value).startswith(text)
