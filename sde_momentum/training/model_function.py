"""A PyTorch model as a pure function of its parameters, in eval mode, on a copy that leaves the model as it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..core.errors import InputError
from .samples import Inputs, n_of, take

#: Largest relative difference of outputs that counts as rounding, in single and in double precision.
_ROUNDING = {torch.float32: 1e-3, torch.float64: 1e-8}
_WRAP = "a tensor, or a dictionary or object with one as `logits`; otherwise wrap the model in a module that gives it"


class ModelFunction:
    """f(w, x): outputs of a model for parameters w, those that require a gradient, in the model's order.

    It runs on a copy of the modules, buffers and attributes (not of the parameters), in eval mode, without autocast. A parameter
    or module that is used in several places counts once.

    Raises:
        InputError: for a model without parameters to train, of another precision than float32 or float64, or that cannot be
            copied.
    """

    def __init__(self, model: nn.Module) -> None:
        model = unwrapped(model)
        self.module = _copied(model).eval()
        places: dict[int, tuple[Tensor, list[str]]] = {}
        for path, module in self.module.named_modules():
            for name, p in module._parameters.items():
                if p is not None and p.requires_grad:
                    places.setdefault(id(p), (p, []))[1].append(f"{path}.{name}" if path else name)
        if not places:
            raise InputError("model", "no parameter that requires a gradient", "a model that can be trained")
        self.parameters = tuple(p.detach() for p, _ in places.values())
        self._places = [names for _, names in places.values()]
        kinds = sorted({str(p.dtype) for p in self.parameters})
        if len(kinds) > 1 or self.parameters[0].dtype not in _ROUNDING:
            allowed = "float32 or float64, the same for all: copy.deepcopy(model).float()"
            raise InputError("model", f"parameters of {', '.join(kinds)}", allowed)
        self._fixed = {name: b.detach() for name, b in self.module.named_buffers()}

    def __call__(self, parameters: Sequence[Tensor], inputs: Inputs) -> Tensor:
        """Outputs (n, ...) of n samples."""
        swapped = {name: p for names, p in zip(self._places, parameters, strict=True) for name in names}
        swapped |= {name: b.clone() for name, b in self._fixed.items()}  # a model may count its calls in one
        given = ((), inputs) if isinstance(inputs, dict) else ((inputs,), {})
        return _output(functional_call(self.module, swapped, *given, tie_weights=False))

    def double(self) -> ModelFunction:
        """The same function in double precision."""
        other = copy(self)
        other.parameters = tuple(p.double() for p in self.parameters)
        known = {name for names in self._places for name in names}
        for path, module in self.module.named_modules():
            for name, value in [*module._parameters.items(), *module._buffers.items()]:
                full = f"{path}.{name}" if path else name
                if value is not None and full not in known and value.is_floating_point():
                    other._fixed = {**other._fixed, full: value.detach().double()}
        return other

    def check(self, inputs: Inputs) -> str:
        """What makes an output depend on the other samples of its batch, in words; "" if none does.

        Raises InputError for outputs that differ from call to call.
        """
        with torch.no_grad():
            n = min(n_of(inputs), 8)
            x = take(inputs, slice(0, n))
            whole = self(self.parameters, x)
            if self._differ(whole, self(self.parameters, x)):
                raise InputError(
                    "model", "outputs that differ from call to call in eval mode", "a function of inputs and parameters"
                )
            if n < 2:
                return ""
            first = (n + 1) // 2
            try:
                parts = [self(self.parameters, take(x, slice(*ends))) for ends in ((0, first), (first, n))]
                apart = self._differ(whole, torch.cat(parts))
            except (ValueError, RuntimeError):  # batch norm refuses one sample
                apart = True
        return f"{self._culprit()}: an output depends on the other samples of its batch" if apart else ""

    def _differ(self, one: Tensor, other: Tensor) -> bool:
        if one.shape != other.shape:
            return True
        size, gap = one.double().norm(), (one.double() - other.double()).norm()
        return bool(gap > _ROUNDING[self.parameters[0].dtype] * size) and bool(torch.isfinite(size))

    def _culprit(self) -> str:
        for module in self.module.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
                return f"{type(module).__name__} without running statistics"
        return type(self.module).__name__


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside `torch.compile`, `DataParallel` and `DistributedDataParallel`."""
    while True:
        if hasattr(model, "_orig_mod"):
            model = model._orig_mod  # type: ignore[assignment]
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            return model


def train_mode_remarks(model: nn.Module, inputs: Inputs) -> list[str]:
    """Sentences on what train mode would do to the outputs of a model in it: the estimate is of eval mode."""
    model = unwrapped(model)
    active = [module for module in model.modules() if module.training]
    texts = []
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in active):
        texts.append("BatchNorm in train mode: an output depends on the other samples of its batch; eval mode is used here")
    if any(_drops(module) for module in active) or (active and _is_random(model, inputs)):
        texts.append("dropout in train mode: its noise is not part of c; eval mode is used here")
    return texts


def _drops(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0 and module.num_layers > 1
    return isinstance(module, nn.MultiheadAttention) and module.dropout > 0


def _is_random(model: nn.Module, inputs: Inputs) -> bool:
    """Whether outputs in train mode are random, by other means than the layers of torch."""
    function = ModelFunction(model)
    for ours, theirs in zip(function.module.modules(), model.modules(), strict=True):
        ours.training = theirs.training
    x = take(inputs, slice(0, min(n_of(inputs), 8)))
    try:
        with torch.no_grad():
            return not torch.equal(*(function(function.parameters, x) for _ in range(2)))
    except (ValueError, RuntimeError):
        return False  # batch norm refuses one sample


@contextmanager
def same_generators() -> Iterator[None]:
    """Context after which torch's generators stand where they stood."""
    with torch.random.fork_rng(range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()):
        yield


def _copied(model: nn.Module) -> nn.Module:
    """A copy of modules, buffers and attributes that shares the parameters."""
    kept: dict[int, Any] = {id(p): p for p in model.parameters()}
    for module in model.modules():
        # tensors of a past step, as attention weights kept for a look, cannot be copied
        kept |= {id(t): t.detach() for t in _tensors(list(vars(module).values())) if not t.is_leaf}
    try:
        return deepcopy(model, kept)
    except (TypeError, RuntimeError, ValueError, AttributeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InputError("model", f"one that cannot be copied: {reason}", "a model that copy.deepcopy can copy") from None


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple | dict):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _tensors(entry)


def _output(result: Any) -> Tensor:
    """The tensor of outputs in what a model returns: itself, `logits`, or the only tensor of floats."""
    if isinstance(result, Tensor):
        return result
    named = result.get("logits") if isinstance(result, Mapping) else getattr(result, "logits", None)
    if isinstance(named, Tensor):
        return named
    entries: Iterable[Any] = (
        result.values() if isinstance(result, Mapping) else result if isinstance(result, tuple | list) else ()
    )
    found = [x for x in entries if isinstance(x, Tensor) and x.is_floating_point()]
    if len(found) == 1:
        return found[0]
    raise InputError("model", f"outputs of type {type(result).__name__}", _WRAP)
