"""A check of a model's derivatives, up to the third, against differences of its own outputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .kernels import differentiable
from .model_function import ModelFunction
from .output_map import OutputMap
from .samples import Inputs, converted, n_of, take

_SAMPLES = 3
"""Samples that are checked one by one: a wrong layer is wrong for all, a kink within the difference is met by few."""
_STEP = {torch.float64: 1e-6, torch.float32: 3e-3}
"""Half-width of the differences, in units of a direction as long as the parameters."""
_NOISE = {torch.float64: 1e-6, torch.float32: 1e-3}
"""Differences below it, in units of the outputs, are rounding."""


def derivative_gap(function: ModelFunction, inputs: Inputs, seed: int = 0, *, together: bool = False) -> float:
    """Largest relative error of derivatives along a random direction, of the sample with the smallest; inf: NaN.

    `together`: of all samples at once, where outputs depend on other samples.

    Every derivative is compared with central differences of the one before it, the first with those of the outputs, which are
    taken as in training: with gradients enabled and torch's own layers. Reverse mode is compared with forward mode. In double
    precision where the model can be evaluated in it.
    """
    if together:
        return _gap(function, inputs, seed)
    n = n_of(inputs)
    some = sorted({k * (n - 1) // (_SAMPLES - 1) for k in range(_SAMPLES)})
    return min(_gap(function, take(inputs, slice(i, i + 1)), seed) for i in some)


def _gap(function: ModelFunction, inputs: Inputs, seed: int) -> float:
    try:
        double = function.double(), converted(inputs, lambda x: x.double() if x.is_floating_point() else x)
        return _of_one(*double, seed)
    except (RuntimeError, TypeError):  # constants of another precision inside the model
        return _of_one(function, inputs, seed)


def _of_one(function: ModelFunction, inputs: Inputs, seed: int) -> float:
    with differentiable(function.module, written_out=False), torch.no_grad():
        f = function(function.parameters, inputs)
    z = OutputMap(function, _half_square, inputs, torch.zeros_like(f), n_of(inputs))
    generator = torch.Generator().manual_seed(seed)
    v = torch.cat([_like(p, generator) for p in z.parameters])
    u = torch.randn(z.n_outputs, generator=generator, dtype=torch.float64).to(v)

    def plain() -> Tensor:
        leaves = [p.detach().requires_grad_() for p in z.parameters]
        with differentiable(function.module, written_out=False), torch.enable_grad():
            return z.whiten(function(leaves, inputs).detach())

    ladder = [plain, lambda: z.push(v), lambda: z.second(v, v), lambda: z.third(v, v, v)]
    size, values = float(plain().norm()), [rung().detach() for rung in ladder[1:]]
    gaps = [_relative(_slope(z, below, v), value, size) for below, value in zip(ladder, values, strict=False)]
    for one, other in ((z.pull(u) @ v, u @ values[0]), (z.contract_hessians(u, v) @ v, u @ values[1])):
        gaps.append(_relative(one.ravel(), other.ravel(), size * float(u.norm())))
    return max(gap if gap == gap else float("inf") for gap in gaps)  # a NaN is no agreement


def _slope(z: OutputMap, value: Callable[[], Tensor], v: Tensor) -> Tensor:
    """Central difference of a value along v."""
    h, here, ends = _STEP[z.dtype], z.parameters, []
    for sign in (1, -1):
        z.parameters = here
        z.move(sign * h * v)
        ends.append(value().detach())
    z.parameters = here
    return (ends[0] - ends[1]) / (2 * h)


def _relative(one: Tensor, other: Tensor, scale: float) -> float:
    larger = max(float(one.norm()), float(other.norm()))
    return float((one - other).norm()) / (larger + 100 * _NOISE[one.dtype] * scale + torch.finfo(one.dtype).tiny)


def _like(p: Tensor, generator: torch.Generator) -> Tensor:
    """A random direction as long as the parameter."""
    drawn = torch.randn(p.numel(), generator=generator, dtype=torch.float64).to(p)
    return drawn * (p.square().mean().sqrt() + 0.01)


def _half_square(f: Tensor, y: Tensor) -> Tensor:
    return (f - y).square().mean() / 2
