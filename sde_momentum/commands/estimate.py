"""The command `sde-momentum estimate`: the timescales and the momentum of a PyTorch model of one's own."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.errors import InputError

if TYPE_CHECKING:
    import torch

    from ..training.result import TimescaleEstimate

_LOSSES = ("mse", "half-mse", "cross-entropy")


def estimate(
    model: Annotated[str, typer.Option(help="pkg.module:factory; called without arguments, gives an nn.Module")],
    data: Annotated[
        str, typer.Option(help="pkg.module:factory of (inputs, targets), a Dataset or a DataLoader; or a .npz or .pt")
    ],
    lr: Annotated[float, typer.Option(help="learning rate")],
    label_noise: Annotated[float, typer.Option(help="sigma; for classes the probability of a flip")] = 0.0,
    batch_size: Annotated[int | None, typer.Option(help="samples a step [default: all]")] = None,
    loss: Annotated[str, typer.Option(help="mse, half-mse, cross-entropy, or pkg.module:function")] = "mse",
    weight_decay: Annotated[float, typer.Option(help="as in torch.optim.SGD")] = 0.0,
    samples: Annotated[int | None, typer.Option(help="how many, drawn at random [default: all]")] = None,
    probes: Annotated[int, typer.Option(help="random probes for tr H and its curvature")] = 64,
    follow: Annotated[int, typer.Option(help="steps down tr H, to feel the curvature of the way")] = 0,
    weights: Annotated[Path | None, typer.Option(help="state_dict of the model, saved by torch.save")] = None,
    tensorboard: Annotated[Path | None, typer.Option(help="folder for TensorBoard")] = None,
    seed: Annotated[int, typer.Option(help="of every draw")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable output")] = False,
) -> None:
    """Noise, curvature, timescales and momentum of a PyTorch model (needs torch)."""
    import torch

    from ..training import EstimatorSettings, estimate_timescales

    if tensorboard is not None:
        _summary_writer(tensorboard)  # fails before the work, not after
    made = _call(model, "--model")
    if not isinstance(made, torch.nn.Module):
        raise InputError("--model", f"{model}, which gives {type(made).__name__}", "a factory of an nn.Module")
    if weights is not None:
        made.load_state_dict(torch.load(weights, weights_only=True))
    found = estimate_timescales(
        made,
        _loss(loss),
        _data(data),
        lr=lr,
        label_noise=label_noise,
        batch_size=batch_size,
        weight_decay=weight_decay,
        follow=follow,
        settings=EstimatorSettings(n_samples=samples, n_probes=probes),
        seed=seed,
    )
    if tensorboard is not None:
        log(found, tensorboard)
    typer.echo(json.dumps(found.to_dict()) if as_json else str(found))


def log(found: TimescaleEstimate, folder: Path, step: int = 0) -> None:
    """Every number of the estimate as a scalar `sde_momentum/<name>` at `step`, and its text."""
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
    """What pkg.module:name names; modules of the current folder count."""
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
            raise  # the user's module was found, but not what it imports
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
