"""`sde-momentum validate recipes`: many momenta at once are torch's own trainings, and what is made of their accuracies."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from validation.cli import app, report
from validation.networks.augmentation import crop_and_flip
from validation.recipes import experiment as recipes
from validation.recipes.optimum import TUNED, Sweep
from validation.recipes.report import sweeps
from validation.recipes.training import WEIGHT_DECAY, Images, Training, _Runs

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def few_images():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(96, 1, 6, 6, generator=g), torch.randint(3, (96,), generator=g)
    return Images(x[:64], y[:64], x[64:], y[64:], "noise")


@pytest.mark.parametrize("arm", ["constant lr, flips", "cosine"])
def test_each_run_is_a_training_of_torch_alone(arm):
    """Accuracies and losses after 8 steps against nn.Module, torch.optim.SGD and its schedule: equal up to rounding."""
    data = few_images()
    training = Training(arm, 0.1, (1.0, 0.1), 5, 2, 16, (None, 64, 32))
    stacked = _Runs(2, (6, 6), 3, 5)
    start = [w.detach().clone() for w in stacked.weights]
    found = training._train(stacked, data)
    for r, momentum in enumerate((0.0, 0.9)):
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3),
        )  # fmt: skip
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), start, strict=True):
                parameter.copy_(value[r])
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
        losses = []
        for k in range(8):
            labels, order = training._epoch(k // 4, data.labels)
            batch = order[k % 4 * 16 :][:16]
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(crop_and_flip(data.inputs[batch][None], [5], k, 1)[0]), labels[batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if arm == "cosine":
                schedule.step()
        for mine, theirs in zip(stacked.weights, model.parameters(), strict=True):
            torch.testing.assert_close(mine[r], theirs, rtol=1e-4, atol=1e-5)
        assert found["loss"][r] == pytest.approx(losses[-1], rel=1e-4)
        model.eval()
        right = 100 * (model(data.test_inputs).argmax(1) == data.test_labels).float().mean()
        assert found["accuracy"][r][-1] == pytest.approx(float(right), abs=1e-3)


def test_a_tenth_of_the_labels_is_drawn_anew_and_a_run_that_diverges_has_no_loss():
    labels = torch.arange(10).repeat(2000)
    training = Training("constant lr, flips", 0.1, (1.0,), 0, 1, 16, (None, 1, 1))
    first, second = (training._epoch(epoch, labels)[0] != labels for epoch in (0, 1))
    n, p = len(labels), 0.1 * 0.9
    assert abs(first.sum() - n * p) < 4 * np.sqrt(n * p * (1 - p))  # a false alarm in 16,000
    assert not torch.equal(first, second)
    found = Training("constant lr", 1e30, (1.0,), 0, 1, 16, (None, 64, 32))._train(_Runs(1, (6, 6), 3, 0), few_images())
    assert found["loss"] == [None]


def score(top, one_minus_beta, noise, seed):
    """A parabola in ln(1 - beta) about `top`, 80 % there, with noise for each of 3 seeds, (M, 3)."""
    x = np.log(np.array(one_minus_beta) / top)[:, None]
    return 80 - 0.5 * x**2 + noise * np.random.default_rng(seed).normal(size=(len(x), 3))


def made_up(power, noise=0.0):
    """Accuracies whose best 1 - beta is 0.4 at lr 0.1 and goes as lr^power."""
    lr, deltas = np.array([0.1, 0.03, 0.01]), 2.0 ** -np.arange(9)
    rows = [score(0.4 * (x / 0.1) ** power, deltas, noise, i) for i, x in enumerate(lr)]
    return Sweep(lr, deltas, np.array(rows))


@pytest.mark.parametrize("power", [0.5, 2 / 3, 1.0])
def test_the_exponent_of_made_up_accuracies_is_found_and_its_rule_loses_nothing(power):
    """Exact without noise; a rule of another power loses (p ln 10)^2 / 2 points, p the difference of the powers, within the
    error of a line between neighbours of the grid, at most (ln 2)^2 / 8 = 0.06."""
    sweep = made_up(power)
    (law,) = sweep.laws()
    assert (law.exponent.value, law.exponent.low, law.exponent.high) == pytest.approx((power,) * 3, abs=1e-9)
    for name, value in TUNED.items():
        lost, se = sweep.lost()[name]
        assert lost[-1] == pytest.approx(0.5 * ((value - power) * np.log(10)) ** 2, abs=0.06)
        assert se[-1] < 1e-9


def test_the_interval_of_the_exponent_holds_the_truth_in_95_percent():
    """200 sweeps of three seeds; 95 % by Student's t: two-sided at 4 standard errors of the share, a false alarm in 16,000."""
    held = []
    for seed in range(200):
        lr, deltas = np.array([0.1, 0.03, 0.01]), 2.0 ** -np.arange(9)
        rows = [score(0.3 * (x / 0.1) ** 0.7, deltas, 0.1, (seed, i)) for i, x in enumerate(lr)]
        gamma = Sweep(lr, deltas, np.array(rows)).laws()[0].exponent
        held.append(gamma.low <= 0.7 <= gamma.high)
    assert abs(np.mean(held) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 200)


def test_the_command_trains_sums_up_and_draws_its_report_again(tmp_path, monkeypatch):
    profile = recipes.Profile((0.1, 0.03), (1.0, 0.25, 0.1), 2, 1, 640, 100)
    monkeypatch.setitem(recipes.EXPERIMENT.profiles, "quick", profile)
    monkeypatch.delenv("SDE_MOMENTUM_DATA", raising=False)
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["recipes", "--out", str(out), "--json", "--workers", "1"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["summary"]
    assert list(found) == ["constant lr", "constant lr, flips", "cosine"]
    cells = json.loads((out / "results.json").read_text())["results"]
    assert len(cells) == 3 * 2 * 2
    assert {cell["steps"] for cell in cells} == {10}
    accuracy = np.array(
        [[cell["accuracy"] for cell in cells if (cell["arm"], cell["lr"]) == ("cosine", lr)] for lr in (0.1, 0.03)]
    )
    np.testing.assert_array_equal(sweeps(cells)["cosine"].score, accuracy.mean(3).transpose(0, 2, 1))
    page = (out / "report.html").read_bytes()
    assert "2 √(lr)".encode() in page
    assert b"digits" in page
    (out / "report.html").unlink()
    report(out, as_json=True)
    assert (out / "report.html").read_bytes() == page


def test_bad_input_is_one_line(tmp_path):
    result = CliRunner().invoke(app, ["recipes", "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    assert result.exit_code != 0
    assert "data" in str(result.exception)
    assert "\n" not in str(result.exception)
