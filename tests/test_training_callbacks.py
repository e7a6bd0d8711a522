"""The callbacks in the real libraries: the same path as torch alone; skipped where the library is absent."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

import sde_momentum as sm
from sde_momentum import training
from sde_momentum.core.errors import InputError

RULE = sm.MomentumRule.from_reference(0.1, 0.9)
N_STEPS = 12


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))


def samples():
    g = torch.Generator().manual_seed(1)
    return torch.randn(4 * N_STEPS, 3, generator=g), torch.randn(4 * N_STEPS, 1, generator=g)


def schedule_of(optimizer):
    return torch.optim.lr_scheduler.StepLR(optimizer, 4, 0.3)


def parameters(model):
    return torch.cat([p.detach().ravel() for p in model.parameters()])


@pytest.fixture(scope="module")
def by_hand():
    """(parameters after each step, momentum at each step) of plain torch."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = schedule_of(optimizer)
    sm.MomentumScaler(optimizer, RULE, when="always")
    x, y = samples()
    points, momenta = [], []
    for k in range(N_STEPS):
        batch = slice(4 * k, 4 * k + 4)
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(x[batch]), y[batch]).backward()
        optimizer.step()
        momenta.append(optimizer.param_groups[0]["momentum"])
        schedule.step()
        points.append(parameters(model))
    assert len(set(momenta)) == 3
    return points, momenta


def lightning_module(lightning, optimizer_of=lambda p: torch.optim.SGD(p, lr=0.1)):
    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = network()

        def training_step(self, batch, _):
            return torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            optimizer = optimizer_of(self.parameters())
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule_of(optimizer), "interval": "step"}}

    return Module()


def lightning_fit(lightning, module, folder, epochs, start=None):
    x, y = samples()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=4)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[training.LightningMomentumCallback(RULE, when="always")],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(module, loader, ckpt_path=start)
    return trainer


@pytest.mark.filterwarnings("ignore")
def test_lightning_trains_as_torch_does(by_hand, tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")
    module = lightning_module(lightning)
    trainer = lightning_fit(lightning, module, tmp_path, 1)
    assert torch.equal(parameters(module.net), by_hand[0][-1])
    assert not trainer.optimizers[0]._optimizer_step_pre_hooks  # taken off again


@pytest.mark.filterwarnings("ignore")
def test_lightning_resumes_the_same_run(tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")
    whole, first, second = (lightning_module(lightning) for _ in range(3))
    lightning_fit(lightning, whole, tmp_path, 2)
    lightning_fit(lightning, first, tmp_path, 1).save_checkpoint(tmp_path / "state.ckpt")
    lightning_fit(lightning, second, tmp_path, 2, start=str(tmp_path / "state.ckpt"))
    assert not torch.equal(parameters(first.net), parameters(whole.net))
    assert torch.equal(parameters(second.net), parameters(whole.net))


@pytest.mark.filterwarnings("ignore")
def test_lightning_refuses_adam(tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")
    with pytest.raises(InputError, match=r"optimizer: given Adam; allowed: torch\.optim\.SGD"):
        lightning_fit(lightning, lightning_module(lightning, torch.optim.Adam), tmp_path, 1)


class ForTrainer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = network()

    def forward(self, x, labels):
        f = self.net(x)
        return {"loss": torch.nn.functional.mse_loss(f, labels), "logits": f}


def trainer_run(transformers, folder, resume=None, **change):
    x, y = samples()
    data = [{"x": a, "labels": b} for a, b in zip(x, y, strict=True)]
    model = ForTrainer()
    optimizer = change.pop("optimizer_of", lambda p: torch.optim.SGD(p, lr=0.1))(model.parameters())
    settings = {
        "output_dir": str(folder), "per_device_train_batch_size": 4, "num_train_epochs": 1, "use_cpu": True, "report_to": "none",
        "max_grad_norm": 0.0, "save_strategy": "steps", "save_steps": 7, "logging_steps": 1, "disable_tqdm": True, **change,
    }  # fmt: skip

    class Ordered(transformers.Trainer):
        def _get_train_sampler(self, *_):
            return torch.utils.data.SequentialSampler(data)

    trainer = Ordered(
        model=model,
        args=transformers.TrainingArguments(**settings),
        train_dataset=data,
        optimizers=(optimizer, schedule_of(optimizer)),
        callbacks=[training.TrainerMomentumCallback(RULE, when="always")],
    )
    trainer.train(resume_from_checkpoint=resume)
    return model, trainer


@pytest.mark.filterwarnings("ignore")
def test_transformers_trains_as_torch_does_and_logs_momentum(by_hand, tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    model, trainer = trainer_run(transformers, tmp_path)
    assert torch.allclose(parameters(model.net), by_hand[0][-1], rtol=1e-6, atol=1e-7)
    logged = [entry["momentum"] for entry in trainer.state.log_history if "momentum" in entry]
    assert logged == by_hand[1]


@pytest.mark.filterwarnings("ignore")
def test_transformers_resumes_the_same_run(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    whole, _ = trainer_run(transformers, tmp_path)
    second, _ = trainer_run(transformers, tmp_path, resume=str(tmp_path / "checkpoint-7"))
    assert torch.equal(parameters(second.net), parameters(whole.net))


@pytest.mark.filterwarnings("ignore")
def test_transformers_refuses_adam(tmp_path):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    with pytest.raises(InputError, match=r"optimizer: given AdamW; allowed: torch\.optim\.SGD"):
        trainer_run(transformers, tmp_path, optimizer_of=torch.optim.AdamW)


def test_importing_the_room_does_not_import_torch():
    code = "import sys; from sde_momentum import training; training.EstimatorSettings(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
