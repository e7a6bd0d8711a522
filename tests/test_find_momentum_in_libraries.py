"""`find_momentum` for Lightning and Transformers finds what plain torch does; stand-ins, and the libraries where they are."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import sde_momentum as sm
from sde_momentum import training
from sde_momentum.core.errors import InputError

pytestmark = pytest.mark.usefixtures("one_torch_thread")
HOW = {"steps": 20, "momenta": [0.0, 0.5, 0.9], "progress": False}
CLIP = 0.3


def samples():
    g = torch.Generator().manual_seed(1)
    x = torch.randn(64, 3, generator=g)
    return x, x @ torch.randn(3, 1, generator=g) + 0.1 * torch.randn(64, 1, generator=g)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Dropout(0.1), nn.Tanh(), nn.Linear(5, 1))


def loader():
    return DataLoader(TensorDataset(*samples()), batch_size=16, shuffle=True)


def one_cycle(optimizer):
    """A scheduler that sets lr to a tenth of its peak of 0.2 when it is made."""
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=200, div_factor=10, cycle_momentum=False)


def by_hand(batches=None, anneal=True):
    """The losses of all trials and the recommendation, with a step of our own that clips at CLIP, at lr 0.2."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)

    def step(batch):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(batch[0]), batch[1])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        return loss

    torch.manual_seed(5)
    return sm.find_momentum(model, optimizer, None, batches or loader(), step=step, anneal=anneal, **HOW)


def in_all_forms(optimizer):
    """What `configure_optimizers` may give."""
    schedule = one_cycle(optimizer)
    return {
        "dictionary": {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}},
        "lists": ([optimizer], [schedule]),
        "list of a dictionary": [{"optimizer": optimizer, "lr_scheduler": schedule}],
    }


def module_of(base=nn.Module, form="dictionary", loss=lambda value: value):
    class Module(base):
        def __init__(self):
            super().__init__()
            self.net = network()

        def training_step(self, batch, batch_idx):
            assert isinstance(batch_idx, int)
            return loss(nn.functional.mse_loss(self.net(batch[0]), batch[1]))

        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=0.2, momentum=0.9)
            return optimizer if form is None else in_all_forms(optimizer)[form]

    return Module()


@pytest.mark.parametrize("form", ["dictionary", "lists", "list of a dictionary"])
def test_a_lightning_module_is_trained_by_its_own_step_at_the_peak_of_its_schedule(form):
    expected, module = by_hand(), module_of(form=form, loss=lambda value: {"loss": value})
    before = [w.clone() for w in module.parameters()]
    torch.manual_seed(5)
    found = training.find_lightning_momentum(module, loader(), clip=CLIP, **HOW)
    assert found.lr == 0.2
    assert found.anneal
    np.testing.assert_array_equal(found.losses, expected.losses)
    assert found.momentum == expected.momentum
    assert all(torch.equal(w, b) for w, b in zip(module.parameters(), before, strict=True))


def test_a_lightning_module_without_a_schedule_is_trained_at_constant_lr():
    expected, module = by_hand(anneal=False), module_of(form=None)
    torch.manual_seed(5)
    found = training.find_lightning_momentum(module, loader(), clip=CLIP, **HOW)
    assert not found.anneal
    np.testing.assert_array_equal(found.losses, expected.losses)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"automatic_optimization": False}, "automatic_optimization = False"),
        ({"configure_optimizers": lambda: None}, "configure_optimizers: given NoneType"),
        ({"configure_optimizers": lambda: [1, 2]}, "configure_optimizers: given 2 optimizers"),
        ({"training_step": lambda batch, i: None}, "a training_step that gives NoneType"),
        ({"training_step": None}, "a LightningModule"),
    ],
)
def test_a_lightning_module_that_cannot_be_trained_so_is_refused_in_one_line(change, message):
    module = module_of()
    for name, value in change.items():
        object.__setattr__(module, name, value)
    with pytest.raises(InputError, match=message) as refused:
        training.find_lightning_momentum(module, loader(), **HOW)
    assert "\n" not in str(refused.value)


class ByPasses:
    """A loader whose order goes by the number of its passes, as that of accelerate does."""

    def __init__(self):
        self.epoch = 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return 4

    def __iter__(self):
        order = torch.randperm(64, generator=torch.Generator().manual_seed(self.epoch))
        x, y = samples()
        yield from ({"x": x[part], "y": y[part]} for part in order.split(16))
        self.epoch += 1


class Trainer:
    """What of `transformers.Trainer` is used."""

    def __init__(self, schedule="linear", **changes):
        plain = {"gradient_accumulation_steps": 1, "fp16": False, "n_gpu": 0, "world_size": 1, "max_steps": -1}
        plain |= {"num_train_epochs": 3.0, "max_grad_norm": CLIP, "lr_scheduler_type": schedule}
        self.args, self.model, self.optimizer = SimpleNamespace(**plain | changes), network().eval(), None

    def create_optimizer(self):
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.2, momentum=0.9)

    def get_train_dataloader(self):
        return ByPasses()

    def compute_loss_context_manager(self):
        return nullcontext()

    def compute_loss(self, model, inputs):
        return nn.functional.mse_loss(model(inputs.pop("x")), inputs.pop("y"))


class Pairs:
    """The batches of ByPasses as pairs, in the order that torch's generator tells."""

    def __iter__(self):
        passes = ByPasses()
        passes.set_epoch(int(torch.randint(2**31, ())))
        return ((batch["x"], batch["y"]) for batch in passes)


@pytest.mark.parametrize("schedule", ["linear", "constant_with_warmup"])
def test_a_trainer_of_transformers_gives_batches_loss_clipping_and_the_kind_of_schedule(schedule):
    expected, trainer = by_hand(Pairs(), anneal=schedule == "linear"), Trainer(schedule)
    before = [w.clone() for w in trainer.model.parameters()]
    torch.manual_seed(5)
    found = training.find_trainer_momentum(trainer, **HOW)
    assert found.anneal == (schedule == "linear")
    np.testing.assert_array_equal(found.losses, expected.losses)
    assert all(torch.equal(w, b) for w, b in zip(trainer.model.parameters(), before, strict=True))
    assert not trainer.model.training
    assert trainer.optimizer.param_groups[0]["momentum"] == 0.9


@pytest.mark.parametrize("change", [{"gradient_accumulation_steps": 4}, {"fp16": True}, {"n_gpu": 2}, {"world_size": 2}])
def test_a_trainer_whose_update_is_another_is_refused(change):
    ((name, value),) = change.items()
    with pytest.raises(InputError, match=f"{name} = {value}"):
        training.find_trainer_momentum(Trainer(**change), **HOW)
    with pytest.raises(InputError, match=r"a transformers\.Trainer"):
        training.find_trainer_momentum(network())


def test_in_lightning_itself():
    lightning = pytest.importorskip("lightning.pytorch")
    expected, module = by_hand(), module_of(lightning.LightningModule)
    torch.manual_seed(5)
    found = training.find_lightning_momentum(module, loader(), clip=CLIP, **HOW)
    np.testing.assert_array_equal(found.losses, expected.losses)


def test_in_transformers_itself(tmp_path):
    """The Trainer's own training at the momentum that was found uses the optimizer that was set."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x, labels):
            return {"loss": nn.functional.mse_loss(self.net(x), labels)}

    data = [{"x": x, "labels": y} for x, y in zip(*samples(), strict=True)]
    args = transformers.TrainingArguments(
        str(tmp_path), optim="sgd", learning_rate=0.2, max_grad_norm=CLIP, per_device_train_batch_size=16, num_train_epochs=2,
        report_to=[], use_cpu=True, save_strategy="no", logging_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    trainer = transformers.Trainer(Model(), args, train_dataset=data)
    found = training.find_trainer_momentum(trainer, **HOW)
    assert found.lr == 0.2
    assert found.anneal
    assert np.isfinite(found.losses).all()
    trainer.optimizer.param_groups[0]["momentum"] = found.momentum
    trainer.train()
    assert trainer.optimizer.param_groups[0]["momentum"] == found.momentum
