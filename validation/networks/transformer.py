"""A causal transformer with pre-norm blocks, R runs side by side."""

from __future__ import annotations

import torch
from torch import Tensor

from sde_momentum.core.errors import InputError, check_integer

from .base import Network, Parameters

EPS = 1e-5
"""Added to the variance in layer norm."""


class Transformer(Network):
    """Decoder of a sequence of tokens, whose output is that at the last position: scores of the next token.

        x = E[token] + P[position]
        x <- x + attention(norm(x)),   x <- x + W_2 gelu(W_1 norm(x) + b_1) + b_2      n_blocks times
        f = W norm(x_last) + b

    Attention is causal: a position sees itself and those before it. The last block is evaluated at the last position alone, which
    is all that f depends on. Norms have a gain and a shift; attention has no biases.

    Args:
        n_tokens: size of the alphabet, which is also K
        length: tokens of a sample; inputs are one-hot, (B, length, n_tokens)
        width: d, numbers at each position
        n_blocks: attention and a hidden layer of 2 d units each
        n_heads: of attention, d / n_heads numbers each

    Raises:
        InputError: for a size below 1, or a width that the heads do not divide.
    """

    def __init__(self, n_tokens: int, length: int, width: int = 24, n_blocks: int = 2, n_heads: int = 2) -> None:
        self.n_outputs = check_integer(n_tokens, "n_tokens", 1)
        self.length, self.width = check_integer(length, "--length", 1), check_integer(width, "--width", 1)
        self.n_blocks, self.n_heads = check_integer(n_blocks, "--blocks", 1), check_integer(n_heads, "--heads", 1)
        if self.width % self.n_heads:
            raise InputError("--heads", n_heads, f"a divisor of the width {width}")
        self.input_shape = (self.length, self.n_outputs)
        self._hidden = torch.ones(self.length, self.length, dtype=torch.bool).triu(1)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the parameters; matrices map rows: (inputs, outputs)."""
        d, k = self.width, self.n_outputs
        shapes: dict[str, tuple[int, ...]] = {"tokens": (k, d), "positions": (self.length, d)}
        for block in range(self.n_blocks):
            own = {
                "norm1_gain": (d,),
                "norm1_shift": (d,),
                "query": (d, d),
                "key": (d, d),
                "value": (d, d),
                "mix": (d, d),
                "norm2_gain": (d,),
                "norm2_shift": (d,),
                "up": (d, 2 * d),
                "up_bias": (2 * d,),
                "down": (2 * d, d),
                "down_bias": (d,),
            }
            shapes |= {f"block{block}_{name}": shape for name, shape in own.items()}
        return {**shapes, "norm_gain": (d,), "norm_shift": (d,), "head": (d, k), "head_bias": (k,)}

    def initial(self, seed: int, dtype: torch.dtype = torch.float32) -> Parameters:
        """Normal matrices of variance 1 / inputs, less by 2 n_blocks at the end of a branch; embeddings 1/2."""
        generator = torch.Generator().manual_seed(check_integer(seed, "seed", 0))
        values: Parameters = {}
        for name, shape in self.shapes.items():
            value = torch.full((1, *shape), float(name.endswith("_gain")), dtype=torch.float64)
            if len(shape) == 2:
                variance = 0.5 if name in ("tokens", "positions") else 1 / shape[0]
                if name.endswith(("mix", "down")):
                    variance /= 2 * self.n_blocks
                value.normal_(0, variance**0.5, generator=generator)
            values[name] = value.to(dtype)
        return values

    def forward(self, parameters: Parameters, inputs: Tensor) -> Tensor:
        """Outputs (R, B, K) on one-hot inputs (B, length, K), the same for all runs, or (R, B, length, K)."""
        n_runs, n_samples = len(parameters["tokens"]), inputs.shape[-3]
        if inputs.shape[-2:] != self.input_shape or (inputs.ndim == 4 and len(inputs) != n_runs) or inputs.ndim not in (3, 4):
            shape = ", ".join(map(str, self.input_shape))
            raise InputError("inputs", f"shape {tuple(inputs.shape)}", f"(B, {shape}), or ({n_runs}, B, {shape})")
        # (R, B length, K) @ (R, K, d): positions of all samples are rows
        x = inputs.flatten(-3, -2) @ parameters["tokens"]
        x = x.unflatten(1, (n_samples, self.length)) + parameters["positions"][:, None]
        for block in range(self.n_blocks):
            own = {name: parameters[f"block{block}_{name}"] for name in _OF_BLOCK}
            y = _norm(x, own["norm1_gain"], own["norm1_shift"])
            last = slice(-1, None) if block == self.n_blocks - 1 else slice(None)
            x = x[:, :, last] + self._attention(own, y, last)
            y = _norm(x, own["norm2_gain"], own["norm2_shift"])
            hidden = torch.nn.functional.gelu(_rows(y, own["up"], own["up_bias"]))
            x = x + _rows(hidden, own["down"], own["down_bias"])
        x = _norm(x, parameters["norm_gain"], parameters["norm_shift"])
        return _rows(x, parameters["head"], parameters["head_bias"])[:, :, 0]

    def _attention(self, own: Parameters, y: Tensor, last: slice) -> Tensor:
        """At the positions `last`, of y (R, B, length, d)."""
        query, key, value = _rows(y[:, :, last], own["query"]), _rows(y, own["key"]), _rows(y, own["value"])
        size = self.width // self.n_heads
        query, key, value = (part.unflatten(3, (self.n_heads, size)).transpose(2, 3) for part in (query, key, value))
        scores = (query @ key.mT) * size**-0.5  # (R, B, heads, positions, length)
        scores = scores.masked_fill(self._hidden.to(y.device)[last], -torch.inf)
        mixed = torch.softmax(scores, dim=-1) @ value
        return _rows(mixed.transpose(2, 3).flatten(3), own["mix"])


_OF_BLOCK = (
    *("norm1_gain", "norm1_shift", "query", "key", "value", "mix"),
    *("norm2_gain", "norm2_shift", "up", "up_bias", "down", "down_bias"),
)


def _rows(x: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (R, B, positions, inputs) times each run's matrix (R, inputs, outputs), plus its bias (R, outputs)."""
    rows = x.flatten(1, 2)
    out = rows @ matrix if bias is None else torch.baddbmm(bias[:, None], rows, matrix)
    return out.unflatten(1, x.shape[1:3])


def _norm(x: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """Layer norm over the last axis, with each run's gain and shift (R, d)."""
    scaled = torch.nn.functional.layer_norm(x, x.shape[-1:], eps=EPS)
    return scaled * gain[:, None, None] + shift[:, None, None]
