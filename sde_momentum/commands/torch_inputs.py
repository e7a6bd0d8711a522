"""What a user names on the command line for PyTorch: a model's factory, data, a loss, saved weights."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import InputError
from ..core.options import REQUIRED, Option

if TYPE_CHECKING:
    import torch

LOSSES = ("mse", "half-mse", "cross-entropy")
MODEL = Option("model", str, REQUIRED, "pkg.module:factory, a function without arguments that returns an nn.Module")
DATA = Option(
    "data", str, REQUIRED,
    "pkg.module:factory of (inputs, targets), a Dataset or a DataLoader; or a .npz or .pt file of inputs and targets",
)  # fmt: skip
LOSS = Option("loss", str, "mse", f"mean over samples: {', '.join(LOSSES)}, or pkg.module:function of (outputs, targets)")
WEIGHTS = Option("weights", Path, None, "state_dict of the model, saved by torch.save")
WEIGHT_DECAY = Option("weight_decay", float, 0.0, "weight decay as in torch.optim.SGD, in loss / parameter^2")


def model_of(place: str, weights: Path | None) -> torch.nn.Module:
    """The model of --model, with the weights of --weights."""
    import torch

    model = call(place, "--model")
    if not isinstance(model, torch.nn.Module):
        raise InputError("--model", f"{place}, which gives {type(model).__name__}", "a factory of an nn.Module")
    if weights is not None:
        _load(model, weights)
    return model


def _load(model: torch.nn.Module, weights: Path) -> None:
    import torch

    try:
        state = torch.load(weights, weights_only=True)
        model.load_state_dict(state)
    except OSError:
        raise
    except Exception as error:  # a damaged file may raise anything
        given = f"{weights} ({str(error).splitlines()[-1].strip()})"
        raise InputError("--weights", given, "a state_dict of the model, saved by torch.save(model.state_dict(), file)") from None


def _named(place: str, argument: str) -> Any:
    """The object pkg.module:name; modules of the current folder are found too."""
    module, _, name = place.partition(":")
    allowed = "MODULE:NAME, a name in a module of the current folder or of an installed package"
    if not module or not name:
        raise InputError(argument, place, allowed)
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(error.name + ".")):
            raise  # the module was found, but not one that it imports
        raise InputError(argument, f"{place}, but there is no module {error.name}", allowed) from None
    except AttributeError:
        raise InputError(argument, f"{place}, but {module} has no {name}", allowed) from None


def call(place: str, argument: str) -> Any:
    """What the function pkg.module:name gives."""
    factory = _named(place, argument)
    if not callable(factory):
        raise InputError(argument, f"{place}, which is no function", "MODULE:NAME of a function without arguments")
    return factory()


def data_of(place: str) -> Any:
    """The data of --data."""
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
    return call(place, "--data")


def loss_of(name: str) -> Any:
    """The loss of --loss."""
    import torch

    if name == "mse":
        return torch.nn.MSELoss()
    if name == "half-mse":
        return _half_square
    if name == "cross-entropy":
        return torch.nn.CrossEntropyLoss()
    if ":" not in name:
        raise InputError("--loss", name, f"{', '.join(LOSSES)}, or pkg.module:function")
    return _named(name, "--loss")


def _half_square(f: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (f - y).square().mean() / 2
