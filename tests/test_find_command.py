"""The command `sde-momentum find`: what it prints is what the library finds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from command_lines import changed
from typer.testing import CliRunner

from sde_momentum.commands.main import app

MINE = """
import torch
from torch.utils.data import DataLoader, TensorDataset

def model():
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))

def samples():
    x = torch.randn(96, 4, generator=torch.Generator().manual_seed(1))
    return x, x[:, :3].argmax(1)

def sized(n):
    return model()

def uneven():
    x, y = samples()
    return x, y[1:]

def loader():
    return DataLoader(TensorDataset(*samples()), 16, shuffle=True)
"""
RUN = ["find", "--model", "my_finder:model", "--lr", "0.1", "--loss", "cross-entropy", "--steps", "40"]


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    (tmp_path / "my_finder.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("my_finder", None)


def invoke(*arguments, data="my_finder:loader"):
    return CliRunner().invoke(app, changed([*RUN, "--data", data], *arguments))


def test_it_prints_and_draws_what_the_library_finds(tmp_path):
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    import sde_momentum as sm

    sys.path.insert(0, "")
    import my_finder

    torch.manual_seed(5)
    model = my_finder.model()
    loader = DataLoader(TensorDataset(*my_finder.samples()), 16, shuffle=True)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    found = sm.find_momentum(model, sgd, torch.nn.CrossEntropyLoss(), loader, steps=40, anneal=True)
    told = [invoke("--seed", "5", "--anneal", "--nesterov", "--json", "--batch-size", "16", data=data) for data in
            ("my_finder:loader", "my_finder:samples")]  # fmt: skip
    for result in told:
        assert result.exit_code == 0
        answer = json.loads(result.stdout)
        assert {k: v for k, v in answer.items() if k != "seconds"} == {k: v for k, v in found.to_dict().items() if k != "seconds"}
    drawn = invoke("--plot", "found.svg")
    assert drawn.stdout.startswith("momentum 0.") or "\nmomentum 0" in drawn.stdout
    assert (tmp_path / "found.svg").read_text().lstrip().startswith("<?xml")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--lr", "-1"], "--lr: given -1.0"),
        (["--momentum", "1"], "--momentum: given 1.0"),
        (["--momentum", "0", "--nesterov"], "--momentum: given 0.0; allowed: more than 0 with --nesterov"),
        (["--batch-size", "0"], "--batch-size: given 0"),
        (["--budget", "0"], "--budget: given 0"),
        (["--plot", "a.txt"], "--plot: given a.txt"),
        (["--loss", "other"], "--loss: given other"),
        (
            ["--loss", "mse"],
            "--model my_finder:model --data my_finder:loader --loss mse: given a training that fails: RuntimeError",
        ),
        (
            ["--model", "my_finder:sized"],
            "--model: given my_finder:sized: missing a required argument: 'n'; allowed: MODULE:NAME",
        ),
        (["--data", "my_finder:uneven"], "--data: given my_finder:uneven with shapes (96, 4) and (95,); allowed: a row of"),
        (["--data", "cut.npz"], "--data: given cut.npz, which cannot be read (BadZipFile: File is not a zip file); allowed: two"),
        (["--data", "objects.npz"], "--data: given objects.npz, which cannot be read (ValueError: Object arrays cannot"),
        (["--data", "words.npz"], "--data: given words.npz, which cannot be read (TypeError: "),
        (["--data", "three.npz"], "--data: given three.npz with a, b, c; allowed: two arrays of numbers: inputs, then targets"),
    ],
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_bad_input_is_one_line(given, message):
    Path("cut.npz").write_bytes(b"PK\x03\x04 half an archive")
    np.savez("objects.npz", a=np.array([{}]), b=np.zeros(1))
    np.savez("words.npz", a=np.zeros((2, 4)), b=np.array(["one", "two"]))
    np.savez("three.npz", a=np.zeros((2, 4)), b=np.zeros(2), c=np.zeros(2))
    result = invoke(*given)
    assert result.exit_code != 0
    assert str(result.exception).startswith(message)


def test_a_dictionary_of_tensors_is_read_as_a_pair_is():
    import torch

    from sde_momentum.commands.torch_inputs import data_of

    x, y = torch.zeros(3, 4), torch.arange(3)
    torch.save({"inputs": x, "targets": y}, "named.pt")
    torch.save((x, y), "pair.pt")
    for name in ("named.pt", "pair.pt"):
        inputs, targets = data_of(name)
        assert torch.equal(inputs, x)
        assert torch.equal(targets, y)
