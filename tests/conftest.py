"""For the suite on several processes: kernels compiled once for all, and the longest files first, so that none runs on alone."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

_KERNELS = (
    ("dynamics.critical_steps",),  # and what they are made of, half of all
    (
        "problems.matrix_sensing", "dynamics.valley_kernel", "dynamics.update", "geometry.lanes.pairs", "geometry.lanes.cholesky",
        "dynamics.drift_diffusion_steps", "sde.stepping.brownian_tree",
    ),
)  # fmt: skip
"""Modules whose kernels are compiled at import, in shares that take equally long."""

_LONGEST = (
    "test_validate",
    "test_sde_orders",
    "test_symbolic_model",
    "test_network_sweep",
    "test_prediction",
    "test_phase_diagram_command",
    "test_effective_loss",
    "test_estimate_timescales",
    "test_documentation",
)


def pytest_configure(config):
    """Each process of a suite imports every module: in a new checkout each would compile all kernels, at the same time."""
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        shares = [", ".join(f"sde_momentum.{name}" for name in share) for share in _KERNELS]
        for process in [subprocess.Popen([sys.executable, "-c", f"import {share}"]) for share in shares]:
            process.wait()


def pytest_collection_modifyitems(items):
    rank = {f"{name}.py": i for i, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.fixture
def coarse(monkeypatch):
    """Steps to Gamma and on the effective loss by a quarter of the evaluations: where they are compared with themselves only."""
    for name in ("effective_loss", "first_phase"):
        monkeypatch.setattr(import_module(f"sde_momentum.predictors.{name}"), "_BLOCKS", 50)


@pytest.fixture
def unwritten(monkeypatch):
    """Reports of experiments are made, and neither drawn nor written."""
    monkeypatch.setattr("validation.report.write", lambda report, folder: None)


@pytest.fixture
def blank(monkeypatch):
    """Pictures of experiments are made, and files of them are empty."""
    monkeypatch.setattr("validation.drawing.render", lambda figure, kind: b"")


@pytest.fixture(scope="module")
def one_torch_thread():
    """Small products lose time to a second thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
