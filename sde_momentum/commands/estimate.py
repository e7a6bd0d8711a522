"""The command `sde-momentum estimate`: the timescales and the best momentum of a user's PyTorch model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..core.extras import require
from ..core.options import REQUIRED, Option, fill
from ..core.progress import track
from .build import build
from .common import JSON, tell
from .torch_inputs import DATA, LOSS, MODEL, WEIGHT_DECAY, WEIGHTS, data_of, loss_of, model_of

if TYPE_CHECKING:
    from ..training.result import TimescaleEstimate

OPTIONS = (
    MODEL,
    DATA,
    Option("lr", float, REQUIRED, "learning rate to predict for"),
    Option("label_noise", float, 0.0, "sigma, in units of the targets; for classes the probability that a label is replaced"),
    Option("batch_size", int, None, "number of samples in a batch (default: all)"),
    LOSS,
    WEIGHT_DECAY,
    Option("samples", int, None, "number of samples to estimate from, drawn at random (default: all)"),
    Option(
        "probes", int, None, "number of random probes for tr H and its curvature (64); with one for each output they are exact"
    ),
    Option("quick", bool, False, "few samples and probes: tr H and its curvature to some ten percent"),
    Option("follow", int, 0, "number of steps down tr H along the manifold, at whose end the curvature is measured"),
    WEIGHTS,
    Option("tensorboard", Path, None, "folder for TensorBoard event files"),
    Option("seed", int, 0, "seed of probes and samples"),
    JSON,
)

NO_ANSWER = 3
"""Exit status where an assumption fails, so that no momentum is predicted; what was measured is printed."""


def run(given: dict[str, Any]) -> None:
    """Estimate with the options in `given`, None for those not given, and print the result; status 3 where it has no momentum."""
    values = fill(OPTIONS, given)
    require("estimate", "torch")
    if values["tensorboard"] is not None:
        require("--tensorboard", "tensorboard")
    with track("estimate", 1):  # imports, model and data may take their time
        found = _estimate(values)
    if values["tensorboard"] is not None:
        log(found, values["tensorboard"])
    tell(found, values["json"])
    if found.momentum is None:
        raise typer.Exit(NO_ANSWER)


def _estimate(values: dict[str, Any]) -> TimescaleEstimate:
    from ..training import QUICK, EstimatorSettings, estimate_timescales

    model = model_of(values["model"], values["weights"])
    same = {name: values[name] for name in ("lr", "label_noise", "batch_size", "weight_decay", "follow", "seed")}
    loss, data = loss_of(values["loss"]), data_of(values["data"])
    wanted = {"n_samples": values["samples"], "n_probes": values["probes"]}
    settings = replace(QUICK if values["quick"] else EstimatorSettings(), **{k: v for k, v in wanted.items() if v is not None})
    return estimate_timescales(model, loss, data, settings=settings, **same)


def log(found: TimescaleEstimate, folder: Path, step: int = 0) -> None:
    """Log every number of the estimate to TensorBoard as a scalar `sde_momentum/<name>` at `step`, and its text."""
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder))
    for name, value in found.to_dict().items():
        if isinstance(value, int | float):
            writer.add_scalar(f"sde_momentum/{name}", value, step)
    writer.add_text("sde_momentum/estimate", "    " + str(found).replace("\n", "\n    "), step)
    writer.close()


estimate = build(
    run,
    OPTIONS,
    "Estimate noise, curvature, timescales and the best momentum of a PyTorch model that interpolates and trains with label "
    "noise (needs torch). Where an assumption fails no momentum is given, and the exit status is 3.\n\n"
    "Example: sde-momentum estimate --model pkg.module:make_model --data pkg.module:make_data --lr 0.02 --label-noise 0.1",
)
