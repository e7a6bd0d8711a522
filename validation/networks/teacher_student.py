"""The task of teacher and student: normal inputs, a narrow teacher's outputs, a wide student."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sde_momentum.core.errors import InputError, check_integer, check_one, check_positive

from .base import Parameters
from .losses import SquareLoss
from .mlp import MLP
from .placement import placed
from .task import Task

_N_TEST = 1000
_SEED = 60  # of the data, beside the configuration's


class Student(MLP):
    """An `MLP` of one output whose last layer starts `output_scale` times as large."""

    def __init__(self, n_inputs: int, hidden: list[int], activation: str, output_scale: float) -> None:
        super().__init__(n_inputs, hidden, 1, activation=activation, bias=False)
        self.output_scale = output_scale

    def initial(self, seed: int, dtype: torch.dtype = torch.float32) -> Parameters:
        """Kaiming's, the last layer scaled."""
        parameters = super().initial(seed, dtype)
        parameters[f"weight{self.n_layers}"] *= self.output_scale
        return parameters


def task(configuration: Mapping[str, Any]) -> Task:
    """The task of a configuration, made once in a process."""
    sizes = ("inputs", "width", "layers", "teacher", "samples", "output_scale", "activation")
    return _build(*(configuration[name] for name in (*sizes, "label_noise", "precision", "device")))


@lru_cache(maxsize=4)
def _build(
    inputs: int,
    width: int,
    layers: int,
    teacher: int,
    samples: int,
    output_scale: float,
    activation: str,
    label_noise: float,
    precision: str,
    device: str,
) -> Task:
    d, h, n = check_integer(inputs, "--inputs", 1), check_integer(width, "--width", 1), check_integer(samples, "--samples", 2)
    k, depth = check_integer(teacher, "--teacher", 1), check_integer(layers, "--layers", 2)
    scale = check_one(check_positive, output_scale, "--output-scale")
    student = Student(d, [h] * (depth - 1), activation, scale)
    if n > student.n_parameters:
        raise InputError("--samples", n, f"at most N = {student.n_parameters}, or nothing interpolates")
    rng = np.random.default_rng(_SEED)
    x = rng.standard_normal((n + _N_TEST, d))
    hidden = np.tanh(x @ rng.standard_normal((d, k)) / np.sqrt(d))
    y = hidden @ rng.standard_normal((k, 1))
    tensors: list[Tensor] = [placed(part, precision, device) for part in (x[:n], y[:n], x[n:], y[n:])]
    train, targets, test, test_targets = tensors
    source = f"teacher with {k} tanh units, {d} normal inputs"
    return Task(student, SquareLoss(targets, label_noise), train, test, test_targets, classes=False, source=source)
