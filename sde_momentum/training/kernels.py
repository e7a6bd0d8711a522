"""Layers written out in elementary operations, and the context in which a model's derivatives are taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..core.errors import InputError

_NO_FORWARD = ("forward AD", "jvp", "functorch", "torch.func", "vmap")
"""Words by which errors of torch tell layers without forward-mode derivatives from other errors."""


def _layer_norm(
    x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5,
    cudnn_enable: bool = True,
) -> Tensor:  # fmt: skip
    out = _standardized(x, tuple(range(-len(normalized_shape), 0)), eps)
    out = out if weight is None else out * weight
    return out if bias is None else out + bias


def _instance_norm(
    x: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None, weight: Tensor | None = None,
    bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5, cudnn_enable: bool = True,
) -> Tensor:  # fmt: skip
    shape = (1, -1) + (1,) * (x.ndim - 2)
    if use_input_stats or running_mean is None or running_var is None:
        out = _standardized(x, tuple(range(2, x.ndim)), eps)
    else:
        out = (x - running_mean.view(shape)) * (running_var.view(shape) + eps).rsqrt()
    out = out if weight is None else out * weight.view(shape)
    return out if bias is None else out + bias.view(shape)


def _standardized(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    centred = x - x.mean(dims, keepdim=True)
    return centred * (centred.square().mean(dims, keepdim=True) + eps).rsqrt()


def _glu(x: Tensor, dim: int = -1) -> Tensor:
    a, b = x.chunk(2, dim)
    return a * torch.sigmoid(b)


def _hardsigmoid(x: Tensor, inplace: bool = False) -> Tensor:
    return (x / 6 + 0.5).clamp(0, 1)


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    dims = tuple(d for d in range(v.ndim) if d != dim % v.ndim)
    return v * (g * v.square().sum(dims, keepdim=True).rsqrt())


_F = torch.nn.functional
#: Layers without forward-mode derivatives in torch, or whose forward derivative torch 2.13 differentiates wrongly (the norms).
WRITTEN_OUT: dict[Any, Any] = {
    _F.layer_norm: _layer_norm,
    torch.layer_norm: _layer_norm,
    _F.instance_norm: _instance_norm,
    torch.instance_norm: _instance_norm,
    _F.glu: _glu,
    torch._C._nn.glu: _glu,
    _F.hardsigmoid: _hardsigmoid,
    torch._C._nn.hardsigmoid: _hardsigmoid,
    torch._C._nn.hardsigmoid_: _hardsigmoid,
    torch._weight_norm: _weight_norm,
}


class _WrittenOut(TorchFunctionMode):
    """The layers of `WRITTEN_OUT` in elementary operations."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return WRITTEN_OUT.get(func, func)(*args, **(kwargs or {}))


@contextmanager
def differentiable(module: nn.Module, *, written_out: bool = True) -> Iterator[None]:
    """Context that uses kernels with forward-mode derivatives, without autocast; InputError for a layer that has none."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH))
        for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
            stack.enter_context(torch.autocast(device, enabled=False))
        fast = torch.backends.mha.get_fastpath_enabled()
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast)
        torch.backends.mha.set_fastpath_enabled(False)
        if written_out:
            stack.enter_context(_WrittenOut())
        if any(isinstance(part, nn.RNNBase) for part in module.modules()):  # fused kernels of RNNs have none
            stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
            stack.enter_context(torch.backends.cudnn.flags(enabled=False))
        try:
            yield
        except (NotImplementedError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            if not any(word in reason for word in _NO_FORWARD):
                raise
            allowed = "layers with forward-mode derivatives (torch.func.jvp), and no activation checkpointing"
            raise InputError("model", reason, allowed) from None
