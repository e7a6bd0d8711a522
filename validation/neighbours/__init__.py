"""One small experiment for each neighbouring paper: its claim beside what is measured."""

from __future__ import annotations

from importlib import import_module
from typing import Any

EXPERIMENTS = ("momentum_as_larger_lr", "representational_drift", "noise_injection", "local_sgd")
"""Modules of this package. Each has NAME, TITLE, SOURCE, CLAIM, DERIVED, PROFILES and `measure`, `findings`, `figure`."""


def experiment(name: str) -> Any:
    """The module of one of EXPERIMENTS; matplotlib comes with it."""
    return import_module(f".{name}", __name__)
