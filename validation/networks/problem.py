"""A fully connected network as a `Problem` of the library, for geometry, drift and critical limit."""

from __future__ import annotations

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

    Everything is computed in double precision, batched over leading axes of w. It has no compiled kernels: the library's
    own simulator is slow on it, and `Stack` trains networks fast.

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
