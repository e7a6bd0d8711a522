"""Teacher and student: a wide tanh network learns a narrow one's outputs, square loss, Gaussian label noise (T5 c).

The third system of Cowsik, Can, Glorioso (arXiv 2210.16400) beside matrix sensing and images. Inputs are normal, the teacher's
weights too; the student's last layer starts larger than usual, so that there is a way to go along Gamma.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .networks.definition import Definition, Profile, Size

if TYPE_CHECKING:
    from .networks.task import Task


def build(configuration: Mapping[str, Any]) -> Task:
    """The task of a configuration."""
    from .networks.teacher_student import task  # torch takes seconds to load

    return task(configuration)


def _describe(c: Mapping[str, Any]) -> list[str]:
    return [
        f"Teacher: {c['inputs']} inputs, {c['teacher']} tanh units. Student: {c['layers']} layers, {c['width']} "
        f"{c['activation']} units in each hidden one, no biases; {c['samples']} samples. The student's last layer starts "
        f"{c['output_scale']:g} times its usual size.",
        f"Square loss |f - y|² / (2P), Gaussian label noise of standard deviation {c['label_noise']:g} at every step.",
    ]


TEACHER_STUDENT = Definition(
    name="teacher-student",
    title="Teacher and student: the best momentum, predicted and measured",
    build=build,
    sizes={
        "inputs": Size(20, "inputs of a sample"),
        "width": Size(64, "units of each hidden layer of the student"),
        "layers": Size(2, "layers of the student, the last included"),
        "teacher": Size(3, "units of the teacher"),
        "samples": Size(100, "training samples"),
        "output_scale": Size(3.0, "size of the student's last layer at initialisation, over Kaiming's"),
        "activation": Size("tanh", "of the student: tanh or relu"),
        "critical_limit": Size(False, "also simulate the critical limit and what it recommends: tens of minutes"),
    },
    profiles={
        "quick": Profile((0.02, 0.06, 0.2), 4, 2_000),
        "full": Profile(
            (0.01, 0.02, 0.04, 0.08, 0.16, 0.32),
            16,
            4_000,
            changes={"critical_limit": True},
            questions=("mini-batch", "nesterov", "initial", "noisy-fit", "weight-decay"),
        ),
        "paper": Profile(
            (0.001, 0.003, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32),
            64,
            8_000,
            changes={"width": 256, "samples": 200},
            questions=("mini-batch", "nesterov", "initial", "noisy-fit", "weight-decay"),
        ),
    },
    label_noise=0.1,
    fraction=0.25,
    weight_decay=1e-4,
    describe=_describe,
    follow=60,
)
