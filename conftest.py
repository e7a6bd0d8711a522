"""Doctests of the callbacks are collected only where the library is there."""

from importlib.util import find_spec

_NEEDS = {"lightning_callback": ("lightning", "pytorch_lightning"), "trainer_callback": ("transformers",)}
collect_ignore = [
    f"sde_momentum/training/{file}.py" for file, names in _NEEDS.items() if not any(find_spec(name) for name in names)
]
