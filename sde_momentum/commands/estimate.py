"""The command `sde-momentum estimate`: the timescales and the best momentum of a user's PyTorch model."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..core.errors import InputError
from ..core.options import REQUIRED, Option, fill
from ..core.progress import track
from .build import build
from .common import JSON

if TYPE_CHECKING:
    import torch

    from ..training.result import TimescaleEstimate

_LOSSES = ("mse", "half-mse", "cross-entropy")


_DATA_HELP = "pkg.module:factory of (inputs, targets), a Dataset or a DataLoader; or a .npz or .pt file of inputs and targets"
OPTIONS = (
    Option("model", str, REQUIRED, "pkg.module:factory, a function without arguments that returns an nn.Module"),
    Option("data", str, REQUIRED, _DATA_HELP),
    Option("lr", float, REQUIRED, "learning rate to predict for"),
    Option("label_noise", float, 0.0, "sigma, in units of the targets; for classes the probability that a label is replaced"),
    Option("batch_size", int, None, "number of samples in a batch (default: all)"),
    Option("loss", str, "mse", f"mean over samples: {', '.join(_LOSSES)}, or pkg.module:function of (outputs, targets)"),
    Option("weight_decay", float, 0.0, "weight decay as in torch.optim.SGD, in loss / parameter^2"),
    Option("samples", int, None, "number of samples to estimate from, drawn at random (default: all)"),
    Option("probes", int, 64, "number of random probes for tr H and its curvature; with one for each output both are exact"),
    Option("follow", int, 0, "number of steps down tr H along the manifold, at whose end the curvature is measured"),
    Option("weights", Path, None, "state_dict of the model, saved by torch.save"),
    Option("tensorboard", Path, None, "folder for TensorBoard event files"),
    Option("seed", int, 0, "seed of probes and samples"),
    JSON,
)


def run(given: dict[str, Any]) -> None:
    """Estimate with the options in `given`, None for those not given, and print the result."""
    values = fill(OPTIONS, given)
    import torch

    from ..training import EstimatorSettings, estimate_timescales

    if values["tensorboard"] is not None:
        _summary_writer(values["tensorboard"])  # fails before the work, not after
    model = _call(values["model"], "--model")
    if not isinstance(model, torch.nn.Module):
        raise InputError("--model", f"{values['model']}, which gives {type(model).__name__}", "a factory of an nn.Module")
    if values["weights"] is not None:
        model.load_state_dict(torch.load(values["weights"], weights_only=True))
    same = {name: values[name] for name in ("lr", "label_noise", "batch_size", "weight_decay", "follow", "seed")}
    loss, data = _loss(values["loss"]), _data(values["data"])
    with track("estimate", 1):  # shows the time passed
        found = estimate_timescales(
            model, loss, data, settings=EstimatorSettings(n_samples=values["samples"], n_probes=values["probes"]), **same
        )
    if values["tensorboard"] is not None:
        log(found, values["tensorboard"])
    typer.echo(json.dumps(found.to_dict()) if values["json"] else str(found))


def log(found: TimescaleEstimate, folder: Path, step: int = 0) -> None:
    """Log every number of the estimate to TensorBoard as a scalar `sde_momentum/<name>` at `step`, and its text."""
    writer = _summary_writer(folder)(str(folder))
    for name, value in found.to_dict().items():
        if isinstance(value, int | float):
            writer.add_scalar(f"sde_momentum/{name}", value, step)
    writer.add_text("sde_momentum/estimate", "    " + str(found).replace("\n", "\n    "), step)
    writer.close()


def _summary_writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        raise InputError("--tensorboard", folder, "an installation with tensorboard: pip install tensorboard") from None
    return SummaryWriter


def _named(place: str, argument: str) -> Any:
    """The object pkg.module:name; modules of the current folder are found too."""
    module, _, name = place.partition(":")
    allowed = "pkg.module:name, to be imported from here"
    if not module or not name:
        raise InputError(argument, place, allowed)
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(error.name + ".")):
            raise  # the module was found, but not one that it imports
        raise InputError(argument, place, allowed) from None
    except AttributeError:
        raise InputError(argument, place, allowed) from None


def _call(place: str, argument: str) -> Any:
    factory = _named(place, argument)
    if not callable(factory):
        raise InputError(argument, place, "a function without arguments")
    return factory()


def _data(place: str) -> Any:
    import numpy as np
    import torch

    path = Path(place)
    if path.suffix == ".npz" and path.is_file():
        with np.load(path) as arrays:
            if len(arrays.files) != 2:
                raise InputError("--data", f"{place} with {', '.join(arrays.files)}", "two arrays: inputs, then targets")
            return tuple(torch.as_tensor(arrays[name]) for name in arrays.files)
    if path.suffix == ".pt" and path.is_file():
        return tuple(torch.load(path, weights_only=True))
    if path.suffix in (".npz", ".pt"):
        raise InputError("--data", place, "a file that exists")
    return _call(place, "--data")


def _loss(name: str) -> Any:
    import torch

    if name == "mse":
        return torch.nn.MSELoss()
    if name == "half-mse":
        return _half_square
    if name == "cross-entropy":
        return torch.nn.CrossEntropyLoss()
    if ":" not in name:
        raise InputError("--loss", name, f"{', '.join(_LOSSES)}, or pkg.module:function")
    return _named(name, "--loss")


def _half_square(f: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (f - y).square().mean() / 2


estimate = build(
    run,
    OPTIONS,
    "Estimate noise, curvature, timescales and the best momentum of a PyTorch model (needs torch).\n\n"
    "Example: sde-momentum estimate --model pkg.module:make_model --data pkg.module:make_data --lr 0.02 --label-noise 0.1",
)
