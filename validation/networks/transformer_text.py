"""A causal transformer on text: the next letter of the Zen of Python, square loss with Gaussian label noise or cross-entropy with
flips.

The text ships with Python (PEP 20, the module `this`). A sample is a context of some letters and the letter that follows it.
"""

from __future__ import annotations

import codecs
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from sde_momentum.core.errors import InputError, check_integer
from sde_momentum.core.options import Option

from ..experiment import Configuration
from .experiment import NetworkExperiment, Profile, once_per_process

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .task import Task

_SEED = 63  # of the choice of contexts
_N_PROBES, _N_LANCZOS = 8, 10
"""Random probes of tr H, and Lanczos steps for the largest eigenvalues of H."""
_GRID = (0.15, 0.25, 0.4, 0.6, 0.85, 1.2, 1.7)
_LOW, _NEAR_OPTIMUM = 0.15, (0.5, 0.65, 0.8, 1.0, 1.25, 1.6, 2.1)
"""A target that is reached only after the motion along Gamma has been damped, and momenta near the optimum.

In a pilot (lr 0.8, two seeds that no sweep uses) tr H came below 0.15 of its start at T (1 - beta) = 10, as in the student, and
stayed there at 1 - beta = 0.0125; at 0.005 it went up again, and at 0.002 every run diverged. With a quarter, T (1 - beta) is
below 1."""
ALPHABET = "abcdefghijklmnopqrstuvwxyz ."
"""Letters; a line's end is a space, all other characters are the last one."""


def zen() -> str:
    """The Zen of Python in the letters of ALPHABET."""
    spec = find_spec("this")
    source = spec.loader.get_source("this") if spec and spec.loader else None  # type: ignore[attr-defined]
    text = codecs.decode((source or "").split('"""')[1], "rot13").lower()
    return "".join(letter if letter in ALPHABET else "." for letter in " ".join(text.split()))


def contexts(length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Contexts (n, length) and the letters that follow them (n,), as places in ALPHABET; each context is there once, those with
    more than one continuation are not."""
    text = zen()
    following: dict[str, set[str]] = {}
    for end in range(length, len(text)):
        following.setdefault(text[end - length : end], set()).add(text[end])
    pairs = [(context, *letters) for context, letters in following.items() if len(letters) == 1]
    place = ALPHABET.index
    return np.array([[place(letter) for letter in c] for c, _ in pairs]), np.array([place(letter) for _, letter in pairs])


@once_per_process
def task(configuration: Configuration) -> Task:
    """One-hot contexts, the letters that follow, and the transformer."""
    from .losses import CrossEntropy, SquareLoss  # torch takes seconds to load
    from .placement import placed
    from .task import Task
    from .transformer import Transformer

    c = configuration
    losses = {"square": SquareLoss, "cross-entropy": CrossEntropy}
    if c["loss"] not in losses:
        raise InputError("--loss", c["loss"], " or ".join(losses))
    network = Transformer(len(ALPHABET), c["length"], c["width"], c["blocks"], c["heads"])
    before, after = contexts(network.length)
    n, n_test = (check_integer(c[name], f"--{name.replace('_', '-')}", 1) for name in ("samples", "test_samples"))
    if n + n_test > len(before):
        raise InputError("--samples", f"{n} and {n_test} for the test", f"at most {len(before)} together")
    chosen = np.random.default_rng(_SEED).permutation(len(before))[: n + n_test]
    letters = np.eye(len(ALPHABET))
    # the square loss's targets have mean 0, so that no unit has to be spent on a constant
    shift = 1 / len(ALPHABET) if c["loss"] == "square" else 0.0
    inputs, targets = letters[before[chosen]], letters[after[chosen]] - shift
    x, y, xt, yt = (placed(part, c["precision"], c["device"]) for part in (inputs[:n], targets[:n], inputs[n:], targets[n:]))
    return Task(
        network,
        losses[c["loss"]](y, c["label_noise"]),
        x,
        xt,
        yt,
        classes=True,
        source=f"the Zen of Python, {len(before)} contexts of {network.length} letters",
        n_probes=_N_PROBES,
        n_lanczos=_N_LANCZOS,
    )


def describe(c: Configuration) -> list[str]:
    """For the report."""
    loss = (
        f"Square loss |f - y|² / (2P) on one-hot letters less 1 / {len(ALPHABET)}, Gaussian label noise of standard deviation"
        if c["loss"] == "square"
        else "Cross-entropy, letters flipped with probability"
    )
    return [
        f"Decoder with {c['blocks']} pre-norm blocks of width {c['width']}, {c['heads']} heads, causal attention, GELU; from "
        f"{c['length']} letters it predicts the next, {c['samples']} contexts.",
        f"{loss} {c['label_noise']:g} at every step.",
    ]


EXPERIMENT = NetworkExperiment(
    name="transformer",
    title="A transformer on text: the best momentum, predicted and measured",
    build=task,
    sizes=(
        Option("samples", int, 64, "number of training contexts"),
        Option("test_samples", int, 400, "number of test contexts"),
        Option("length", int, 8, "letters of a context"),
        Option("width", int, 24, "numbers at each position"),
        Option("blocks", int, 2, "attention and hidden layer, each with its norm before it"),
        Option("heads", int, 2, "of attention"),
        Option("loss", str, "square", "square, or cross-entropy with flipped labels"),
    ),
    profiles={
        "quick": Profile((0.2, 0.4, 0.8), 2, 600, changes={"samples": 32, "test_samples": 200}, n_records=40),
        "full": Profile((0.1, 0.2, 0.4, 0.8), 6, 600, n_records=50, grid=_GRID, questions=("cross-entropy",)),
        "low-target": Profile((0.15, 0.26, 0.46, 0.8), 4, 1_200, changes={"fraction": _LOW}, n_records=50, grid=_NEAR_OPTIMUM),
        "paper": Profile(
            (0.02, 0.05, 0.1, 0.2, 0.4),
            16,
            2_000,
            changes={"samples": 256, "width": 48, "length": 16},
            questions=("cross-entropy",),
        ),
    },
    label_noise=0.15,
    fraction=0.25,
    weight_decay=1e-4,
    questions={
        "cross-entropy": ("cross-entropy with a tenth of the letters flipped", {"loss": "cross-entropy", "label_noise": 0.1})
    },
    describe=describe,
)
