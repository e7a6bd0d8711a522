"""The command `sde-momentum find`: what it prints is what the library finds."""

from __future__ import annotations

import json
import sys

import pytest
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
    return CliRunner().invoke(app, [*RUN, "--data", data, *arguments])


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
    ],
)
def test_bad_input_is_one_line(given, message):
    result = invoke(*given)
    assert result.exit_code != 0
    assert str(result.exception).startswith(message)
