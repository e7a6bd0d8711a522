"""Fully connected networks, R runs as batched matrix products, with hand-written gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from sde_momentum.core.errors import InputError, check_integer

from .base import Network, Parameters

_IN_PLACE = {"tanh": torch.tanh_, "relu": torch.relu_}
_FUNCTION = {"tanh": torch.tanh, "relu": torch.relu}
_GAIN = {"tanh": 1.0, "relu": 2.0}
"""He's factor for relu; for tanh, whose units start in its linear part, that of a linear network."""


class MLP(Network):
    """Fully connected network h_0 = x, h_l = phi(W_l h_{l-1} + b_l), outputs W_L h_{L-1} + b_L; L = n_layers.

    Activations are kept as (R, units, B): the first layer, whose inputs all runs share, is then one matrix product, and the
    others are R products side by side.

    Args:
        n_inputs: of one sample, flattened
        hidden: units of each hidden layer
        n_outputs: K
        activation: "tanh" or "relu"
        bias: whether there are b_l
        output_scale: size of the last layer at initialisation, over Kaiming's

    Raises:
        InputError: for a size below 1 or an unknown activation.
    """

    def __init__(
        self,
        n_inputs: int,
        hidden: Sequence[int],
        n_outputs: int,
        *,
        activation: str = "tanh",
        bias: bool = True,
        output_scale: float = 1.0,
    ) -> None:
        if activation not in _FUNCTION:
            raise InputError("--activation", activation, " or ".join(_FUNCTION))
        self.sizes = [check_integer(n, "sizes", 1) for n in (n_inputs, *hidden, n_outputs)]
        self.input_shape = (n_inputs,)
        self.n_outputs = n_outputs
        self.activation = activation
        self.bias = bias
        self.output_scale = output_scale

    @property
    def n_layers(self) -> int:
        """Number L of layers, the output included."""
        return len(self.sizes) - 1

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the parameters: W_l (units, inputs) and b_l (units,)."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, (before, after) in enumerate(pairwise(self.sizes), 1):
            shapes[f"weight{layer}"] = (after, before)
            if self.bias:
                shapes[f"bias{layer}"] = (after,)
        return shapes

    def initial(self, seed: int, dtype: torch.dtype = torch.float32) -> Parameters:
        """Kaiming's: W_l normal with variance gain / inputs, output_scale^2 / inputs at the output; b_l = 0."""
        generator = torch.Generator().manual_seed(check_integer(seed, "seed", 0))
        parameters = {}
        for name, shape in self.shapes.items():
            value = torch.zeros(1, *shape, dtype=torch.float64)
            if len(shape) == 2:
                gain = 1.0 if name == f"weight{self.n_layers}" else _GAIN[self.activation]
                value.normal_(0, (gain / shape[1]) ** 0.5, generator=generator)
            parameters[name] = value.to(dtype)
        parameters[f"weight{self.n_layers}"] *= self.output_scale
        return parameters

    def forward(self, parameters: Parameters, inputs: Tensor) -> Tensor:
        """Outputs (R, B, K) on (B, ...) or (R, B, ...), flattened."""
        h = self._columns(inputs)
        for layer in range(1, self.n_layers + 1):
            z = self._affine(parameters, layer, h)
            h = z if layer == self.n_layers else _FUNCTION[self.activation](z)
        return h.transpose(1, 2)

    def pullback(self, parameters: Parameters, inputs: Tensor) -> tuple[Tensor, Callable[[Tensor], Parameters]]:
        """As in `Network`, by the chain rule written out."""
        with torch.no_grad():
            hs, outputs = self._sweep(parameters, inputs)

        @torch.no_grad()
        def pull(cotangent: Tensor) -> Parameters:
            gradients: Parameters = {}
            for layer, d in self._backward(parameters, hs, cotangent):
                weight, h = parameters[f"weight{layer}"], hs[layer - 1]
                if h.ndim == 2:
                    gradients[f"weight{layer}"] = (d.reshape(-1, d.shape[-1]) @ h.T).view_as(weight)
                else:
                    gradients[f"weight{layer}"] = d @ h.transpose(1, 2)
                if self.bias:
                    gradients[f"bias{layer}"] = d.sum(dim=2)
            return gradients

        return outputs, pull

    def squared_pullback(
        self, parameters: Parameters, inputs: Tensor, cotangents: Callable[[Tensor], Sequence[Tensor]]
    ) -> Tensor:
        """sum over samples and cotangents of |J_sample^T c|^2, (R,): exact, with no gradient of a single sample ever formed.

        A layer's share is |dL/dz|^2 (|h|^2 + 1), h its inputs. `cotangents` makes tensors (R, B, K) from the outputs. It can be
        differentiated once more with respect to the parameters.
        """
        hs, outputs = self._sweep(parameters, inputs)
        sizes = [h.square().sum(dim=-2) + (1.0 if self.bias else 0.0) for h in hs]
        total = torch.zeros(len(outputs), dtype=outputs.dtype, device=outputs.device)
        for cotangent in cotangents(outputs):
            for layer, d in self._backward(parameters, hs, cotangent):
                total = total + (d.square().sum(dim=1) * sizes[layer - 1]).sum(dim=-1)
        return total

    def jacobian(self, parameters: Parameters, inputs: Tensor) -> Parameters:
        """Gradient of every output of every sample, name -> (R, B, K, ...); inputs (B, ...) the same for all runs."""
        hs, outputs = self._sweep(parameters, inputs)
        found: dict[str, list[Tensor]] = {name: [] for name in self.shapes}
        for k in range(self.n_outputs):
            for layer, d in self._backward(parameters, hs, _only(outputs, k)):
                h = hs[layer - 1].expand(len(d), -1, -1)
                found[f"weight{layer}"].append(torch.einsum("rhb,rfb->rbhf", d, h))
                if self.bias:
                    found[f"bias{layer}"].append(d.transpose(1, 2))
        return {name: torch.stack(parts, dim=2) for name, parts in found.items()}

    def along(self, parameters: Parameters, inputs: Tensor, directions: Parameters) -> Tensor:
        """sum of <direction, gradient> over runs, samples and outputs, a number; directions as from `jacobian`.

        It can be differentiated with respect to the parameters.
        """
        hs, outputs = self._sweep(parameters, inputs)
        total = torch.zeros((), dtype=outputs.dtype, device=outputs.device)
        for k in range(self.n_outputs):
            for layer, d in self._backward(parameters, hs, _only(outputs, k)):
                h = hs[layer - 1].expand(len(d), -1, -1)
                total = total + torch.einsum("rhb,rbhf,rfb->", d, directions[f"weight{layer}"][:, :, k], h)
                if self.bias:
                    total = total + torch.einsum("rhb,rbh->", d, directions[f"bias{layer}"][:, :, k])
        return total

    def _columns(self, inputs: Tensor) -> Tensor:
        """(F, B) shared, or (R, F, B)."""
        stacked = inputs.ndim == 3 or inputs.ndim > 4
        flat = inputs.flatten(2) if stacked else inputs.flatten(1)
        return flat.transpose(-1, -2)

    def _affine(self, parameters: Parameters, layer: int, h: Tensor) -> Tensor:
        weight = parameters[f"weight{layer}"]
        if h.ndim == 2:
            z = (weight.reshape(-1, weight.shape[-1]) @ h).view(*weight.shape[:2], -1)
            return z + parameters[f"bias{layer}"][..., None] if self.bias else z
        if not self.bias:
            return weight @ h
        return torch.baddbmm(parameters[f"bias{layer}"][..., None], weight, h)

    def _sweep(self, parameters: Parameters, inputs: Tensor) -> tuple[list[Tensor], Tensor]:
        """Inputs of every layer, and the outputs (R, B, K)."""
        function = (_FUNCTION if torch.is_grad_enabled() else _IN_PLACE)[self.activation]
        hs = [self._columns(inputs)]
        for layer in range(1, self.n_layers):
            hs.append(function(self._affine(parameters, layer, hs[-1])))
        return hs, self._affine(parameters, self.n_layers, hs[-1]).transpose(1, 2)

    def _backward(self, parameters: Parameters, hs: list[Tensor], cotangent: Tensor) -> Iterator[tuple[int, Tensor]]:
        """(layer, gradient with respect to its z (R, units, B)), from the last layer to the first."""
        d = cotangent.transpose(1, 2)
        for layer in range(self.n_layers, 0, -1):
            yield layer, d
            if layer > 1:
                h = hs[layer - 1]
                back = parameters[f"weight{layer}"].transpose(1, 2) @ d
                # phi'(z) from phi(z): 1 - h^2, or 1 where h > 0
                d = torch.addcmul(back, back, h.square(), value=-1) if self.activation == "tanh" else back * (h > 0)


def _only(outputs: Tensor, k: int) -> Tensor:
    """Cotangent of output k alone, (R, B, K)."""
    cotangent = torch.zeros_like(outputs, requires_grad=False)
    cotangent[..., k] = 1
    return cotangent
