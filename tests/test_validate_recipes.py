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
