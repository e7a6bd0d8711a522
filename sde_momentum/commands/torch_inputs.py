"""What a user names on the command line for PyTorch: a model's factory, data, a loss, saved weights."""

from __future__ import annotations

import sys
from importlib import import_module
from inspect import signature
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
    allowed = "MODULE:NAME of a function without arguments"
    if not callable(factory):
        raise InputError(argument, f"{place}, which is no function", allowed)
    try:
        signature(factory).bind()
    except TypeError as error:
        raise InputError(argument, f"{place}: {error}", allowed) from None
    except ValueError:  # a function of C, which states no arguments
        pass
    return factory()


def data_of(place: str) -> Any:
    """The data of --data; inputs and targets that are tensors are of as many samples."""
    path = Path(place)
    if path.suffix in (".npz", ".pt") and not path.is_file():
        raise InputError("--data", place, "a file that exists")
    data = _read(path) if path.suffix in (".npz", ".pt") else call(place, "--data")
    sizes = [tuple(one.shape) for one in data if hasattr(one, "shape")] if isinstance(data, tuple) else []
    if len(sizes) == 2 and (not all(sizes) or sizes[0][0] != sizes[1][0]):
        raise InputError(
            "--data", f"{place} with shapes {sizes[0]} and {sizes[1]}", "a row of inputs and of targets for each sample"
        )
    return data


def _read(path: Path) -> tuple[Any, ...]:
    """Inputs and targets of a file; no pickles."""
    import numpy as np
    import torch

    allowed = "two arrays of numbers: inputs, then targets"
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                data = {name: torch.as_tensor(arrays[name]) for name in arrays.files}
        else:
            data = torch.load(path, weights_only=True)
        values = tuple(data.values() if isinstance(data, dict) else data)
    except OSError:
        raise
    except Exception as error:  # a damaged file may raise anything
        given = f"{path}, which cannot be read ({type(error).__name__}: {str(error).partition('. ')[0]})"
        raise InputError("--data", given, allowed) from None
    if len(values) != 2:
        names = ", ".join(data) if isinstance(data, dict) else f"{len(values)} tensors"
        raise InputError("--data", f"{path} with {names or 'nothing'}", allowed)
    return values


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
