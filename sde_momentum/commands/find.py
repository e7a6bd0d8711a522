"""The command `sde-momentum find`: the momentum of a user's own PyTorch training, by short trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.errors import InputError, check_integer, check_lr, check_momentum, check_non_negative, check_one, check_positive
from ..core.extras import require
from ..core.options import REQUIRED, Option, fill
from ..core.progress import track
from .build import build
from .common import JSON, NESTEROV, check_picture, save_plot, tell
from .torch_inputs import DATA, LOSS, MODEL, WEIGHT_DECAY, WEIGHTS, data_of, loss_of, model_of

OPTIONS = (
    MODEL,
    DATA,
    Option("lr", float, REQUIRED, "peak learning rate to find the momentum for"),
    LOSS,
    Option("batch_size", int, 64, "samples in a batch, where --data gives samples and not a DataLoader"),
    Option("momentum", float, 0.9, "present momentum, which is tried too"),
    NESTEROV,
    WEIGHT_DECAY,
    Option("anneal", bool, False, "the training will end with lr 0, as under a cosine schedule: each trial ends so too"),
    Option(
        "steps",
        int,
        None,
        "length of a trial; a fifth of the training is enough (default: one pass through the data)",
    ),
    Option("seeds", int, 1, "repetitions of each trial on other batches"),
    Option("budget", float, None, "seconds for all trials"),
    WEIGHTS,
    Option("seed", int, 0, "seed of the model, the order of the data and all noise"),
    Option("plot", Path, None, "picture of the loss against momentum: .png, .svg or .pdf"),
    JSON,
)


def run(given: dict[str, Any]) -> None:
    """Find the momentum with the options in `given`, None for those not given, and print it."""
    require("find", "torch")
    values = fill(OPTIONS, given)
    lr = check_one(check_lr, values["lr"], "--lr")
    momentum = check_one(check_momentum, values["momentum"], "--momentum")
    decay = check_one(check_non_negative, values["weight_decay"], "--weight-decay")
    for name, least in (("batch_size", 1), ("seeds", 1), ("seed", 0), ("steps", 10)):
        if values[name] is not None:
            check_integer(values[name], f"--{name.replace('_', '-')}", least)
    if values["budget"] is not None:
        check_one(check_positive, values["budget"], "--budget")
    if values["plot"] is not None:
        check_picture("--plot", values["plot"])
    if values["nesterov"] and momentum == 0:
        raise InputError("--momentum", momentum, "more than 0 with --nesterov")
    with track("find", 1):  # imports, model and data may take their time
        import torch

        from ..training import find_momentum

        torch.manual_seed(values["seed"])
        model = model_of(values["model"], values["weights"])
        optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, weight_decay=decay, nesterov=values["nesterov"])
        how = {name: values[name] for name in ("steps", "seeds", "budget", "anneal")}
        loss, loader = loss_of(values["loss"]), _batches(values["data"], values["batch_size"])
        try:
            found = find_momentum(model, optimizer, loss, loader, **how)
        except InputError:
            raise
        except Exception as error:  # of the user's model, data or loss
            parts = " ".join(f"--{name} {values[name]}" for name in ("model", "data", "loss"))
            fault = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            raise InputError(parts, f"a training that fails: {fault}", "one that runs; --debug shows where it fails") from error
        if values["plot"] is not None:
            save_plot(found, values["plot"])
    tell(found, values["json"])


def _batches(place: str, size: int) -> Any:
    """A loader of the data: what --data gives if that has batches, else one that shuffles its samples."""
    from torch.utils.data import DataLoader, Dataset, TensorDataset

    data = data_of(place)
    if isinstance(data, tuple) and len(data) == 2:
        data = TensorDataset(*data)
    return DataLoader(data, size, shuffle=True) if isinstance(data, Dataset) else data


find = build(
    run,
    OPTIONS,
    "Find the best momentum of a PyTorch training by short trials on the same batches (needs torch).\n\n"
    "Example: sde-momentum find --model pkg.module:make_model --data pkg.module:make_loader --lr 0.1 --loss cross-entropy",
)
