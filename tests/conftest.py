"""The longest test files are run first: the process that took one last would run on alone."""

from __future__ import annotations

_LONGEST = (
    "test_validate",
    "test_network_sweep",
    "test_stacked_networks",
    "test_estimate_timescales",
    "test_effective_loss",
    "test_documentation",
)


def pytest_collection_modifyitems(items):
    rank = {f"{name}.py": i for i, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))
