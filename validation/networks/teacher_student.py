"""Teacher and student: a wide tanh network learns a narrow one's outputs, square loss, Gaussian label noise.

The third system of Cowsik, Can, Glorioso (arXiv 2210.16400) beside matrix sensing and images. Inputs are normal, the teacher's
weights too; the student's last layer starts larger than usual, so that the drift along Gamma is long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sde_momentum.core.errors import InputError, check_integer, check_one, check_positive
from sde_momentum.core.options import Option

from ..experiment import Configuration, Switch
from .experiment import NARROW, NetworkExperiment, Profile, once_per_process

if TYPE_CHECKING:
    from .task import Task

_N_TEST = 1000
_SEED = 60  # of the data, beside the configuration's


@once_per_process
def task(configuration: Configuration) -> Task:
    """Normal inputs, a narrow teacher's outputs, a wide student."""
    from .losses import SquareLoss  # torch takes seconds to load
    from .mlp import MLP
    from .placement import placed
    from .task import Task

    c = configuration
    d, h, n = (check_integer(c[name], f"--{name}", least) for name, least in (("inputs", 1), ("width", 1), ("samples", 2)))
    k, depth = check_integer(c["teacher"], "--teacher", 1), check_integer(c["layers"], "--layers", 2)
    scale = check_one(check_positive, c["output_scale"], "--output-scale")
    student = MLP(d, [h] * (depth - 1), 1, activation=c["activation"], bias=False, output_scale=scale)
    if n > student.n_parameters:
        raise InputError(
            "--samples", n, f"at most the number of parameters, {student.n_parameters}, so that they can be fitted exactly"
        )
    rng = np.random.default_rng(_SEED)
    x = rng.standard_normal((n + _N_TEST, d))
    hidden = np.tanh(x @ rng.standard_normal((d, k)) / np.sqrt(d))
    y = hidden @ rng.standard_normal((k, 1))
    train, targets, test, test_targets = (placed(part, c["precision"], c["device"]) for part in (x[:n], y[:n], x[n:], y[n:]))
    source = f"teacher with {k} tanh units, {d} normal inputs"
    return Task(student, SquareLoss(targets, c["label_noise"]), train, test, test_targets, classes=False, source=source)


def describe(c: Configuration) -> list[str]:
    """For the report."""
    return [
        f"Teacher: {c['inputs']} inputs, {c['teacher']} tanh units. Student: {c['layers']} layers, {c['width']} "
        f"{c['activation']} units in each hidden one, no biases; {c['samples']} samples. The student's last layer starts "
        f"{c['output_scale']:g} times its usual size.",
        f"Square loss |f - y|² / (2P), Gaussian label noise of standard deviation {c['label_noise']:g} at every step.",
    ]


_QUESTIONS = ("mini-batch", "nesterov", "initial", "noisy-fit", "weight-decay")

EXPERIMENT = NetworkExperiment(
    name="teacher-student",
    title="Teacher and student: the best momentum, predicted and measured",
    build=task,
    sizes=(
        Option("inputs", int, 20, "number of inputs of a sample"),
        Option("width", int, 64, "units of each hidden layer of the student"),
        Option("layers", int, 2, "layers of the student, the last included"),
        Option("teacher", int, 3, "units of the teacher"),
        Option("samples", int, 100, "number of training samples"),
        Option("output_scale", float, 3.0, "size of the student's last layer at initialisation, over Kaiming's"),
        Option("activation", str, "tanh", "of the student: tanh or relu"),
        Switch("critical_limit", bool, False, "also simulate the critical limit and what it recommends: tens of minutes"),
    ),
    profiles={
        "quick": Profile((0.02, 0.06, 0.2), 4, 2_000),
        "full": Profile((0.01, 0.02, 0.04, 0.08, 0.16, 0.32), 16, 4_000, changes={"critical_limit": True}, questions=_QUESTIONS),
        "small-lr": Profile((0.001, 0.002, 0.005, 0.01, 0.02), 8, 12_000, grid=NARROW),
        "paper": Profile(
            (0.001, 0.003, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32),
            64,
            8_000,
            changes={"width": 256, "samples": 200},
            questions=_QUESTIONS,
        ),
    },
    label_noise=0.1,
    fraction=0.25,
    weight_decay=1e-4,
    describe=describe,
    follow=60,
)
