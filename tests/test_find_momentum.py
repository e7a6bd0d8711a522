"""`find_momentum`: short trials of a training, after which nothing has changed."""

from __future__ import annotations

import random
import re
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import sde_momentum as sm
from sde_momentum.core.errors import InputError
from sde_momentum.training.finder.lengths import least_one_minus_beta
from sde_momentum.training.finder.snapshot import Snapshot

pytestmark = pytest.mark.usefixtures("one_torch_thread")
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(64, 5, generator=GENERATOR)
Y = torch.randint(0, 3, (64,), generator=GENERATOR)


def classifier():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


def loader(**given):
    return DataLoader(TensorDataset(X, Y), batch_size=16, shuffle=True, **given)


def sgd(model, **given):
    return torch.optim.SGD(model.parameters(), **{"lr": 0.05, "momentum": 0.9, **given})


def state(model, optimizer):
    """Everything that a training consists of, as comparable numbers."""
    tensors = [*model.state_dict().values(), *(p.grad for p in model.parameters() if p.grad is not None)]
    tensors += [b for s in optimizer.state.values() for b in s.values() if isinstance(b, torch.Tensor)]
    groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    generators = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002
    return [t.clone() for t in tensors], groups, generators, [m.training for m in model.modules()]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one[0], other[0], strict=True)) and one[1:] == other[1:]


def trained():
    """A model in the middle of its training, with momentum buffers, gradients and a frozen module."""
    model = classifier()
    optimizer = sgd(model, weight_decay=1e-3)
    for x, y in loader():
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    model[1].eval()
    return model, optimizer


class Stop(Exception):
    pass


@pytest.mark.parametrize("error", [None, Stop, KeyboardInterrupt])
def test_the_training_stands_where_it_stood_bit_for_bit_also_after_an_exception(error):
    model, optimizer = trained()
    own = torch.Generator().manual_seed(3)
    before, drawn, calls = deepcopy(state(model, optimizer)), own.get_state(), []
    buffers = [id(b) for b in (*model.buffers(), *model.parameters())]

    def loss(f, y):
        calls.append(1)
        if error is not None and len(calls) == 25:
            model[0].weight.grad = None
            raise error
        random.random()
        return nn.functional.cross_entropy(f, y) + 0.0 * float(np.random.rand())  # noqa: NPY002

    if error is None:
        sm.find_momentum(model, optimizer, loss, loader(generator=own), steps=20)
    else:
        with pytest.raises(error):
            sm.find_momentum(model, optimizer, loss, loader(generator=own), steps=20)
    assert len(calls) >= 25
    assert same(before, state(model, optimizer))
    assert torch.equal(drawn, own.get_state())
    assert buffers == [id(b) for b in (*model.buffers(), *model.parameters())]
    assert next(iter(loader()))[0].shape == (16, 5)


def test_training_after_the_search_is_the_training_without_it():
    ends = []
    for search in (False, True):
        model, optimizer = trained()
        data = loader()
        if search:
            sm.find_momentum(model, optimizer, nn.functional.cross_entropy, data, steps=12, momenta=[0.5, 0.9])
        for x, y in data:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        ends.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_a_trial_is_the_users_own_training_on_the_same_batches():
    """The losses of a trial, and those of the loop written out, at constant lr: equal bit for bit."""
    model, optimizer = trained()
    data = loader()
    found = sm.find_momentum(model, optimizer, nn.functional.cross_entropy, data, lr=0.02, steps=11, momenta=[0.3])
    expected, batches = [], iter(())
    for group in optimizer.param_groups:
        group["lr"], group["momentum"] = 0.02, 1 - (1 - 0.3)
    for _ in range(11):
        batch = next(batches, None)
        if batch is None:
            batches = iter(data)
            batch = next(batches)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        expected.append(loss.item())
    np.testing.assert_array_equal(found.losses[0, 0], expected)


def quadratic(curvature):
    """Gradient descent on curvature x^2 / 2 from x = 1: a module and its loss."""
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.ones_(model.weight)
    return model, lambda f, y: curvature * f.square().mean() / 2, [(torch.ones(1, 1, dtype=torch.float64), None)]


@pytest.mark.parametrize("curvature", [0.05, 0.3])
def test_on_a_parabola_it_finds_critical_damping(curvature):
    """The fastest heavy ball has sqrt(lr curvature) = 1 - sqrt(beta): within the spacing of the momenta."""
    model, loss, data = quadratic(curvature)
    found = sm.find_momentum(model, sgd(model, lr=0.1), loss, data, steps=600)
    assert found.one_minus_beta == pytest.approx(1 - (1 - np.sqrt(0.1 * curvature)) ** 2, rel=0.45)
    assert found.low <= found.one_minus_beta <= found.high
    assert found.rule.momentum(0.1) == pytest.approx(found.momentum)


def test_a_lost_trial_is_the_cliff_and_the_least_momentum_within_the_noise_is_recommended():
    """lr 1.5 at curvature 2 is unstable without momentum (lr curvature > 2), stable with: beta > lr curvature / 2 - 1."""
    model, loss, data = quadratic(2.0)
    found = sm.find_momentum(model, sgd(model, lr=1.5), loss, data, steps=200, momenta=[0.0, 0.3, 0.6, 0.9])
    assert np.isinf(found.score[-2:]).all()
    assert found.momentum == pytest.approx(0.6)
    with pytest.raises(InputError, match=r"lr: given 1.5; allowed: a smaller learning rate: every trial was lost"):
        sm.find_momentum(model, sgd(model, lr=1.5), loss, data, steps=200, momenta=[0.0, 0.3])


def test_a_trial_clearly_behind_one_with_more_momentum_is_stopped_where_lr_will_fall():
    """A flat parabola at small lr: without momentum it hardly moves. Its loss is not known at the end, and it is no cliff.
    At constant lr every trial is made to its end: less momentum begins later and ends with less noise."""
    model, loss, data = quadratic(0.02)
    found = sm.find_momentum(model, sgd(model, lr=0.1), loss, data, steps=400, anneal=True)
    behind = np.isnan(found.score)
    assert behind.any()
    assert found.tried[behind].min() > found.one_minus_beta
    assert np.isnan(found.losses[behind][:, 0, -1]).all()
    assert found.cliff is None
    assert np.isinf(found.excess[behind]).all()
    assert found.to_dict()["score"][-1] is None
    assert "stopped: behind" in found.plot().get_legend_handles_labels()[1]
    assert np.isfinite(sm.find_momentum(model, sgd(model, lr=0.1), loss, data, steps=400).score).all()


def test_an_answer_from_trials_whose_loss_still_falls_is_doubtful():
    """A flat parabola, whose loss falls as exp(-2 lr curvature k / (1 - beta)); no doubt where lr falls or at the floor."""
    model, loss, data = quadratic(0.005)
    found = sm.find_momentum(model, sgd(model, lr=0.1), loss, data, steps=400, momenta=[0.88, 0.9])
    assert found.fall == pytest.approx(2 * 0.1 * 0.005 / 0.1 * 400, rel=0.05)
    assert found.doubts[0].startswith("the loss still falls, by 98% in 400 steps")
    assert "longer ones, steps= two fifths of the training, may" in found.doubts[0]
    cooled = sm.find_momentum(model, sgd(model, lr=0.1), loss, data, steps=400, momenta=[0.88, 0.9], anneal=True)
    settled = sm.find_momentum(model, sgd(model), lambda f, y: 1 + f.square().mean(), data, steps=400, momenta=[0.5, 0.9])
    for other in (cooled, settled):
        assert other.fall == pytest.approx(0, abs=1e-6)
        assert not any("falls" in doubt for doubt in other.doubts)


def test_trials_take_no_more_steps_than_the_training_that_the_schedule_tells():
    model, loss, data = quadratic(0.1)
    optimizer = sgd(model)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 750)
    found = sm.find_momentum(model, optimizer, loss, data, steps=200, schedule=schedule)
    free = sm.find_momentum(model, optimizer, loss, data, steps=200, anneal=True)
    assert np.isfinite(found.losses).sum() <= 750 < np.isfinite(free.losses).sum()
    assert len(found.tried) >= 3
    twice = sm.find_momentum(model, optimizer, loss, data, steps=200, schedule=schedule, seeds=2)
    assert np.isfinite(twice.losses).sum() <= 2 * 750
    assert len(twice.tried) >= 3


@pytest.mark.parametrize("seeds", [1, 2])
def test_without_a_schedule_five_trials_are_the_most_for_each_seed(seeds):
    """From momentum 0 to the best near 1 - beta = 0.024, which alone takes five."""
    model, loss, data = quadratic(0.003)
    found = sm.find_momentum(model, sgd(model, momentum=0.0), loss, data, steps=800, seeds=seeds)
    assert len(found.tried) == 5
    assert np.isfinite(found.losses).sum() <= 5 * 800 * seeds


def test_the_lr_of_a_warm_up_is_not_that_of_the_training():
    """At the beginning the highest lr that the schedule tells; later, and where one is given, that."""
    model, loss, data = quadratic(1.0)
    optimizer = sgd(model)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.4, total_steps=500)
    asked = {"momenta": [0.5], "schedule": schedule}
    assert sm.find_momentum(model, optimizer, loss, data, **asked).lr == 0.4
    assert sm.find_momentum(model, optimizer, loss, data, lr=0.2, **asked).lr == 0.2
    optimizer.step()
    schedule.step()
    assert sm.find_momentum(model, optimizer, loss, data, **asked).lr == optimizer.param_groups[0]["lr"] < 0.1


def test_the_best_at_the_end_of_what_was_tried_is_doubtful():
    """At curvature 1 and lr 0.1 a hundred steps are fastest at 1 - beta of about 0.5."""
    model, loss, data = quadratic(1.0)
    found = sm.find_momentum(model, sgd(model), loss, data, momenta=[0.95, 0.98], steps=100, anneal=True)
    assert any(
        "least momentum tried was the best: momenta=[0.98000, 0.95000, 0.8400], steps=100 shows" in doubt
        for doubt in found.doubts
    )
    whole = sm.find_momentum(model, sgd(model), loss, data, momenta=[0.0, 0.5, 0.95], steps=100, anneal=True)
    assert not any("least momentum tried" in doubt for doubt in whole.doubts)


def test_a_doubt_names_the_trials_that_would_settle_it_and_they_do():
    """At curvature 0.003 and lr 0.05 critical damping is at 1 - beta = 0.024; hundred steps are too short to try it."""
    model, loss, data = quadratic(0.003)
    optimizer = sgd(model, momentum=0.5)
    asked = {"schedule": torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 5000), "anneal": False}
    found = sm.find_momentum(model, optimizer, loss, data, steps=100, momenta=[0.5, 0.9], **asked)
    assert found.n_training == 5000
    assert "longer ones, steps=2000 (20 times the steps of these trials), may" in found.doubts[0]
    short = sm.find_momentum(model, optimizer, loss, data, steps=100, momenta=[0.5, 0.9], anneal=True)
    settled = re.search(
        r"most momentum tried was the best: (momenta=\[0.96875, 0.9000, 0.5000\], steps=192) shows", short.doubts[0]
    )
    assert settled is not None, short.doubts
    again = sm.find_momentum(model, optimizer, loss, data, steps=192, momenta=[0.96875, 0.9, 0.5], anneal=True)
    assert again.score[0] < again.score[1]
    assert again.tried[0] == pytest.approx(least_one_minus_beta(again.n_steps))


def test_where_the_best_stays_the_trials_that_a_doubt_names_leave_none():
    """Critical damping at lr curvature 0.1 is at 1 - beta = 0.53: 0.5 is between both ends that the doubts ask for."""
    model, loss, data = quadratic(1.0)
    for momenta, word in (([0.5, 0.95], "least"), ([0.5, 0.0], "most")):
        found = sm.find_momentum(model, sgd(model), loss, data, momenta=momenta, steps=100, anneal=True)
        (doubt,) = [doubt for doubt in found.doubts if "momentum tried was the best" in doubt]
        named = re.search(r"momenta=\[(.*)\], steps=(\d+) shows .* \((.*) times the steps", doubt)
        assert doubt.startswith(f"the {word} momentum")
        asked = [float(momentum) for momentum in named[1].split(", ")]
        again = sm.find_momentum(model, sgd(model), loss, data, momenta=asked, steps=int(named[2]), anneal=True)
        assert len(asked) == 3
        assert not again.doubts
        done, first = np.isfinite(again.losses).sum(), np.isfinite(found.losses).sum()
        assert float(named[3]) == pytest.approx(done / first, rel=0.05)


@pytest.mark.parametrize("lr", [1e-9, 6.0])
def test_trials_that_learn_nothing_are_doubtful(lr):
    model = classifier()
    found = sm.find_momentum(model, sgd(model, lr=lr), nn.functional.cross_entropy, loader(), steps=60, momenta=[0.5])
    assert found.doubts[0].startswith("no trial is shown to learn, not the best: its loss is 1.")
    wide = DataLoader(TensorDataset(X, X[:, :3].argmax(1)), batch_size=16, shuffle=True)
    taught = sm.find_momentum(model, sgd(model, lr=0.1), nn.functional.cross_entropy, wide, steps=60, momenta=[0.5])
    assert not any("learn" in doubt for doubt in taught.doubts)


def test_trials_that_a_budget_cut_short_are_doubtful():
    model, loss, data = quadratic(1.0)
    found = sm.find_momentum(model, sgd(model), loss, data, budget=1e-6, momenta=[0.5, 0.9])
    assert (found.n_steps, found.n_usual) == (10, 300)
    assert re.match(r"the budget cut the trials to 10 steps: the usual 300 take a budget of \d+$", found.doubts[0])
    assert not any("budget" in doubt for doubt in sm.find_momentum(model, sgd(model), loss, data, budget=1e6).doubts)


def test_the_schedule_tells_the_length_of_a_trial():
    model, loss, data = quadratic(1.0)
    optimizer = sgd(model)
    for steps, expected in ((2500, 250), (50, 150), (10**6, 1000)):
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        found = sm.find_momentum(model, optimizer, loss, data, momenta=[0.5], schedule=schedule)
        assert found.n_steps == expected
    assert sm.find_momentum(model, optimizer, loss, data, momenta=[0.5]).n_steps == 300


def test_with_cool_down_lr_falls_to_nothing_and_momentum_stays():
    seen = []
    model, loss, data = quadratic(1.0)
    optimizer = sgd(model, lr=0.1)

    def step(batch):
        seen.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        return loss(model(batch[0]), None)

    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    found = sm.find_momentum(model, optimizer, None, data, step=step, steps=50, momenta=[0.5], schedule=schedule)
    assert found.anneal
    rates = np.array(seen)[:, 0]
    np.testing.assert_allclose(rates[:41], 0.1)
    np.testing.assert_allclose(rates[40:50], 0.1 * np.arange(10, 0, -1) / 10)
    np.testing.assert_array_equal(rates[50:], np.zeros(10))
    assert found.score[0] == pytest.approx(found.losses[0, 0, 50:].mean())
    assert set(np.array(seen)[:, 1]) == {0.5}


def test_groups_keep_their_proportion_and_seeds_change_the_batches():
    model = classifier()
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[4].parameters(), "lr": 0.01}]
    optimizer = torch.optim.SGD(groups, lr=1.0, momentum=0.5, nesterov=True)
    rates = []

    def step(batch):
        rates.append([group["lr"] for group in optimizer.param_groups])
        value = nn.functional.cross_entropy(model(batch[0]), batch[1])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return value

    found = sm.find_momentum(model, optimizer, None, loader(), lr=0.2, step=step, steps=10, momenta=[0.5, 0.9], seeds=3)
    np.testing.assert_allclose(rates, np.tile([0.2, 0.02], (60, 1)))
    assert found.losses.shape == (2, 3, 10)
    assert len({tuple(course) for course in found.losses[0]}) == 3
    ends = found.losses[:, :, -10:].mean(axis=2)
    best = int(np.argmin(found.score))
    expected = np.log(ends[1 - best] / ends[best]).std(ddof=1) / np.sqrt(3)
    assert found.excess_se[1 - best] == pytest.approx(expected)


def test_dictionaries_without_a_loss_and_a_metric_of_the_model():
    class Causal(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.inner = nn.Linear(5, 3)

        def forward(self, inputs, labels):
            return {"loss": nn.functional.cross_entropy(self.inner(inputs), labels)}

    model = Causal()
    data = [{"inputs": X, "labels": Y}]
    found = sm.find_momentum(
        model,
        sgd(model),
        None,
        data,
        steps=20,
        momenta=[0.0, 0.9],
        metric=lambda m: float(m.inner.weight.detach().square().sum()),
    )
    assert found.measure == "metric"
    assert np.isfinite(found.score).all()
    assert "noise is unknown" in found.doubts[-1]


def test_what_it_prints_and_draws_is_what_it_found():
    model, loss, data = quadratic(2.0)
    found = sm.find_momentum(model, sgd(model, lr=1.5), loss, data, steps=200, momenta=[0.3, 0.6, 0.9])
    text = str(found).splitlines()
    assert len(text) == 6
    assert text.pop(0).startswith("doubtful: the loss still falls, by 100% in 200 steps")
    assert text[0] == "momentum 0.6 at lr 1.5 (1 - beta 0.4; as good from 0.4 to 0.4)"
    assert "3 momenta, 200 steps each" in text[1]
    assert "at the present momentum 0.9" in text[2]
    assert {"lost", "recommended: momentum 0.6"} <= set(found.plot().get_legend_handles_labels()[1])
    assert found.to_dict()["score"][2] is None


def test_a_model_with_many_kinds_of_state_is_restored():
    """Buffers that a step replaces, states in optimizers, modules in eval mode."""
    model, optimizer = trained()
    saved = Snapshot(model, optimizer)
    before = deepcopy(state(model, optimizer))
    model[1].running_mean = torch.full((8,), 7.0)
    model.train()
    optimizer.param_groups[0]["extra"] = 1
    optimizer.state[model[0].weight]["momentum_buffer"].zero_()
    torch.rand(3)
    saved.restore()
    assert same(before, state(model, optimizer))


BAD = [
    ({"model": 3}, "model: given int"),
    ({"optimizer": torch.optim.Adam(nn.Linear(1, 1).parameters())}, "optimizer: given Adam"),
    ({"loader": iter([1])}, "loader: given list_iterator"),
    ({"loader": []}, "loader: given no batches"),
    ({"loader": [3]}, "loader: given batches of int"),
    ({"lr": -1.0}, "lr: given -1.0"),
    ({"steps": 3}, "steps: given 3"),
    ({"momenta": [1.0]}, "momenta: given 1.0"),
    ({"seeds": 0}, "seeds: given 0"),
    ({"budget": -1}, "budget: given -1"),
    ({"loss": None}, "loss: given None"),
    ({"loss": lambda f, y: 3}, "loss: given int"),
    ({"loss": nn.CrossEntropyLoss}, r"loss: given the class CrossEntropyLoss; allowed: a function, such as CrossEntropyLoss\(\)"),
    ({"model": nn.Linear(5, 3)}, "optimizer: given one that trains no parameter of the model; allowed: the optimizer of this"),
    ({"loader": [(X * np.nan, Y)]}, "loader: given a first batch whose loss is nan, before any update; allowed: data of finite"),
    (
        {"loader": [(X, Y), (X * np.nan, Y)]},
        "lr: given 0.05; .* every trial was lost, also without momentum, each at step 2, whose",
    ),
    ({"step": lambda batch: "x", "loss": None}, "step: given a result of str"),
    ({"step": lambda batch: 1.0}, "loss: given beside step"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_input_is_one_line_and_changes_nothing(change, message):
    model, optimizer = trained()
    before = deepcopy(state(model, optimizer))
    given = {
        "model": model,
        "optimizer": optimizer,
        "loss": nn.functional.cross_entropy,
        "loader": loader(),
        "steps": 10,
    } | change
    with pytest.raises(InputError, match=message):
        sm.find_momentum(**given)
    assert same(before, state(model, optimizer))


def test_a_loader_that_goes_on_and_a_momentum_that_is_set_by_a_scaler_are_refused():
    class GoesOn:
        def __init__(self):
            self.count = 0

        def __iter__(self):
            self.count += 1
            yield X + self.count, Y

    model, optimizer = trained()
    with pytest.raises(InputError, match="loader: given other batches each time"):
        sm.find_momentum(model, optimizer, nn.functional.cross_entropy, GoesOn(), steps=10, momenta=[0.5, 0.9])
    sm.MomentumScaler(optimizer, sm.MomentumRule.from_reference(0.05, 0.9))
    with pytest.raises(InputError, match="optimizer: given one with a MomentumScaler"):
        sm.find_momentum(model, optimizer, nn.functional.cross_entropy, loader())


def test_a_budget_shortens_trials():
    model, optimizer = trained()
    found = sm.find_momentum(model, optimizer, nn.functional.cross_entropy, loader(), budget=1e-6)
    assert found.n_steps == 10
