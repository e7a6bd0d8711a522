"""A fully connected network as a `Problem` of the library, for geometry, drift and critical limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sde_momentum.core.errors import InputError
from sde_momentum.problems.problem import Array, Problem

from .base import Parameters
from .mlp import MLP


class NetworkProblem(Problem):
    """f(w) of an `MLP` on fixed inputs, w the parameters one after another; P = samples x outputs, sample by sample.

    Everything is computed in double precision, batched over leading axes of w. It has no compiled kernels; `Stack` trains
    networks faster than the library's own simulator.

    Args:
        network: any MLP
        inputs: (n, ...)
        targets: (n, K)

    Raises:
        InputError: for targets that do not fit.
    """

    name = "network"

    def __init__(self, network: MLP, inputs: Tensor, targets: Tensor) -> None:
        if targets.shape != (len(inputs), network.n_outputs):
            raise InputError("targets", f"shape {tuple(targets.shape)}", f"shape ({len(inputs)}, {network.n_outputs})")
        self.network = network
        self.inputs = inputs.detach().cpu().double()
        self.targets = targets.detach().cpu().double().numpy().ravel()
        self.n_parameters = network.n_parameters

    def flat(self, parameters: Parameters) -> Array:
        """The first run's parameters as w, (N,)."""
        return np.concatenate([parameters[name][0].double().cpu().numpy().ravel() for name in self.network.shapes])

    def parameters(self, w: Array) -> Parameters:
        """w (..., N) as stacked parameters, the leading axes flattened."""
        rows = torch.as_tensor(np.ascontiguousarray(w, dtype=np.float64)).reshape(-1, self.n_parameters)
        sizes = [torch.Size(shape).numel() for shape in self.network.shapes.values()]
        parts = rows.split(sizes, dim=1)
        return {
            name: part.reshape(len(rows), *shape) for (name, shape), part in zip(self.network.shapes.items(), parts, strict=True)
        }

    def outputs(self, w: Array) -> Array:
        """f: (..., N) -> (..., P)."""
        with torch.no_grad():
            return self.network.forward(self.parameters(w), self.inputs).reshape(*w.shape[:-1], -1).numpy()

    def vjp(self, w: Array) -> tuple[Array, Callable[[Array], Array]]:
        """f(w) and the pullback r -> J(w)^T r, by the network's chain rule: no Jacobian is formed."""
        values, pull = self.network.pullback(self.parameters(w), self.inputs)
        shape = (*w.shape[:-1], self.n_outputs)

        def pullback(r: Array) -> Array:
            gradients = pull(torch.as_tensor(np.ascontiguousarray(r, dtype=np.float64)).reshape(values.shape))
            return torch.cat([gradients[name].flatten(1) for name in self.network.shapes], dim=1).reshape(w.shape).numpy()

        return values.reshape(shape).numpy(), pullback

    def pullback(self, w: Array, r: Array) -> Array:
        """J(w)^T r: (..., N), (..., P) -> (..., N)."""
        return self.vjp(w)[1](r)

    def trace_hessian(self, w: Array) -> Array:
        """tr H: (...), exact, without a Jacobian."""
        with torch.no_grad():
            return self._trace(self.parameters(w)).reshape(w.shape[:-1]).numpy()

    def trace_hessian_gradient(self, w: Array) -> Array:
        """Gradient of tr H: (..., N)."""
        leaves = {name: value.requires_grad_() for name, value in self.parameters(w).items()}
        found = torch.autograd.grad(self._trace(leaves).sum(), list(leaves.values()), allow_unused=True, materialize_grads=True)
        return torch.cat([g.flatten(1) for g in found], dim=1).reshape(w.shape).numpy()

    def _trace(self, parameters: Parameters) -> Tensor:
        """sum over samples and outputs of |J|^2 / P, (R,)."""

        def each_output(outputs: Tensor) -> list[Tensor]:
            return [torch.eye(outputs.shape[-1], dtype=outputs.dtype)[k].expand_as(outputs) for k in range(outputs.shape[-1])]

        return self.network.squared_pullback(parameters, self.inputs, each_output) / self.n_outputs

    def jacobian(self, w: Array) -> Array:
        """J: (..., N) -> (..., P, N)."""
        with torch.no_grad():
            rows = self.network.jacobian(self.parameters(w), self.inputs)
        whole = torch.cat([rows[name].flatten(3) for name in self.network.shapes], dim=3)
        return whole.reshape(*w.shape[:-1], -1, self.n_parameters).numpy()

    def contract_hessians(self, w: Array, c: Array) -> Array:
        """Gradient of <c, J(w)>: sum_i hess f_i c_i, (..., N)."""
        leaves = {name: value.requires_grad_() for name, value in self.parameters(w).items()}
        n_runs = len(next(iter(leaves.values())))
        rows = torch.as_tensor(np.ascontiguousarray(c, dtype=np.float64)).reshape(n_runs, len(self.inputs), -1, self.n_parameters)
        parts = rows.split([value[0].numel() for value in leaves.values()], dim=3)
        directions = {
            name: part.reshape(*rows.shape[:3], *value.shape[1:])
            for (name, value), part in zip(leaves.items(), parts, strict=True)
        }
        total = self.network.along(leaves, self.inputs, directions)
        found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True, materialize_grads=True)
        return torch.cat([g.flatten(1) for g in found], dim=1).reshape(w.shape).numpy()

    def settings(self) -> dict[str, Any]:
        """Layers, activation, and a checksum of the data."""
        data = np.concatenate([self.inputs.numpy().ravel(), self.targets])
        return {
            "sizes": self.network.sizes,
            "activation": self.network.activation,
            "bias": self.network.bias,
            "data": float(data @ np.sin(np.arange(len(data)))),
        }
