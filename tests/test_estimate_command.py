"""The command `sde-momentum estimate`: what it prints is what the library gives."""

import json
import sys

import numpy as np
import pytest
import torch
from command_lines import changed
from typer.testing import CliRunner

import sde_momentum as sm
from sde_momentum.commands.estimate import OPTIONS
from sde_momentum.commands.main import app

MINE = """
import torch

def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))

def data():
    torch.manual_seed(1)
    x = torch.randn(10, 4)
    return x, model()(x).detach()

def loss(f, y):
    return (f - y).square().mean() / 2

def other_model():
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))

def other_data():
    x, y = data()
    return x[:8], y[:8]

number = 3
"""
RUN = ["--model", "my_training:model", "--data", "my_training:data", "--lr", "0.1", "--label-noise", "0.1"]


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    (tmp_path / "my_training.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("my_training", None)
    import my_training

    return my_training


def invoke(*arguments):
    return CliRunner().invoke(app, changed(["estimate", *RUN], *arguments))


@pytest.mark.parametrize("loss", ["half-mse", "my_training:loss"])
def test_it_prints_what_the_library_finds(mine, loss):
    found = sm.estimate_timescales(mine.model(), mine.loss, mine.data(), lr=0.1, label_noise=0.1, batch_size=5)
    assert json.loads(invoke("--json", "--batch-size", "5", "--loss", loss).stdout) == found.to_dict()
    assert invoke("--batch-size", "5", "--loss", loss).stdout.strip() == str(found)


def test_data_and_weights_come_from_files_too(mine, tmp_path):
    x, y = mine.data()
    np.savez(tmp_path / "data.npz", x=x.numpy(), y=y.numpy())
    torch.save((x, y), tmp_path / "data.pt")
    torch.save({name: 2 * value for name, value in mine.model().state_dict().items()}, tmp_path / "weights.pt")
    plain = invoke("--json").stdout
    assert invoke("--json", "--data", "data.npz").stdout == plain
    assert invoke("--json", "--data", "data.pt").stdout == plain
    assert json.loads(invoke("--json", "--weights", "weights.pt").stdout)["loss"] > 0


def test_tensorboard_gets_every_number(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = json.loads(invoke("--json", "--tensorboard", str(tmp_path / "log")).stdout)
    events = EventAccumulator(str(tmp_path / "log"))
    events.Reload()
    for name in ("momentum", "noise", "curvature"):
        assert events.Scalars(f"sde_momentum/{name}")[0].value == pytest.approx(found[name], rel=1e-6)


def test_where_an_assumption_fails_there_is_no_momentum_and_the_status_is_3():
    result = invoke("--label-noise", "0", "--quick")
    assert result.exit_code == 3
    assert "! no label noise" in result.stdout
    assert "momentum        none predicted at lr = 0.1" in result.stdout
    assert invoke("--quick").exit_code == 0


CHANGES = {
    "--lr": "0.2",
    "--label-noise": "0.2",
    "--batch-size": "5",
    "--loss": "half-mse",
    "--weight-decay": "0.1",
    "--samples": "5",
    "--probes": "3",
    "--follow": "2",
    "--quick": None,
    "--weights": "weights.pt",
    "--model": "my_training:other_model",
    "--data": "my_training:other_data",
}


@pytest.mark.parametrize("option", [*CHANGES, "--seed"])
def test_every_option_changes_the_estimate(mine, option):
    torch.save({name: 2 * value for name, value in mine.model().state_dict().items()}, "weights.pt")
    base = ("--json", "--probes", "4") if option == "--seed" else ("--json",)  # with a probe for each output none is random
    value = CHANGES.get(option, "1")
    change = invoke(*base, option, *([] if value is None else [value]))
    assert change.exit_code in (0, 3)  # 3: the changed model does not interpolate
    assert json.loads(change.stdout) != json.loads(invoke(*base).stdout)


def test_the_list_of_changes_is_complete():
    assert {option.flag for option in OPTIONS} == {*CHANGES, "--seed", "--tensorboard", "--json"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--model", "my_training:nothing"],
            "--model: given my_training:nothing, but my_training has no nothing; allowed: MODULE:NAME",
        ),
        (["--model", "no_such_module:model"], "--model: given no_such_module:model, but there is no module no_such_module"),
        (["--model", "my_training"], "--model: given my_training; allowed: MODULE:NAME"),
        (["--model", "my_training:number"], "--model: given my_training:number, which is no function; allowed: MODULE:NAME"),
        (["--model", "my_training:data"], "--model: given my_training:data, which gives tuple; allowed: a factory"),
        (["--weights", "my_training.py"], "--weights: given my_training.py ("),
        (["--data", "missing.npz"], "--data: given missing.npz; allowed: a file that exists"),
        (["--loss", "hinge"], "--loss: given hinge; allowed: mse, half-mse, cross-entropy"),
        (["--lr", "0"], "lr: given 0.0; allowed: finite numbers > 0"),
    ],
)
def test_bad_input_names_argument_given_and_allowed(arguments, message):
    failure = invoke(*arguments).exception
    assert isinstance(failure, sm.InputError)
    assert str(failure).startswith(message)
