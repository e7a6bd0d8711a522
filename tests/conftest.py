"""The longest test files are run first: the process that took one last would run on alone."""

from __future__ import annotations

import pytest

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


def pytest_collection_modifyitems(items):
    rank = {f"{name}.py": i for i, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.fixture(scope="module")
def one_torch_thread():
    """Small products lose time to a second thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
