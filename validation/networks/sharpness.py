"""tr H and the largest eigenvalues of H for R runs at once; H = J^T S J, the Hessian on Gamma."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Network, Parameters
from .draws import PROBES, generator
from .losses import Loss
from .mlp import MLP

Trace = tuple[Tensor, Tensor]


def trace_hessian(
    network: Network, loss: Loss, parameters: Parameters, inputs: Tensor, *, n_probes: int = 8, seed: int = 0
) -> Trace:
    """tr H (R,) and its standard error (R,): exact for an MLP, by `n_probes` >= 2 random probes otherwise (Hutchinson).

    A probe is |J^T sum_k s_k c_k|^2 with signs s, independent for each sample and factor c_k of the loss: its mean is tr H.
    All runs share the signs.
    """
    if isinstance(network, MLP):
        with torch.no_grad():
            exact = network.squared_pullback(parameters, inputs, loss.curvature_factors)
        return exact, torch.zeros_like(exact)
    outputs, pull = network.pullback(parameters, inputs)
    factors = torch.stack(list(loss.curvature_factors(outputs)))
    stream = generator(seed, PROBES)
    values = []
    for _ in range(n_probes):
        values.append(_squares(pull((_signs(factors, stream) * factors).sum(dim=0))))
    probes = torch.stack(values)
    return probes.mean(dim=0), probes.std(dim=0) / n_probes**0.5


def trace_hessian_gradient(
    network: Network, loss: Loss, parameters: Parameters, inputs: Tensor, *, n_probes: int, seed: int
) -> Parameters:
    """Gradient of tr H, name -> (R, ...): exact for an MLP, a mean over `n_probes` random probes otherwise."""
    leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    if isinstance(network, MLP):
        trace = network.squared_pullback(leaves, inputs, loss.curvature_factors)
    else:
        outputs = network.forward(leaves, inputs)
        factors = torch.stack(list(loss.curvature_factors(outputs)))
        stream = generator(seed, PROBES)
        trace = torch.zeros(len(outputs), dtype=outputs.dtype, device=outputs.device)
        for _ in range(n_probes):
            probe = (_signs(factors, stream) * factors).sum(dim=0)
            pulled = torch.autograd.grad(outputs, list(leaves.values()), probe, create_graph=True)
            trace = trace + _squares(dict(zip(leaves, pulled, strict=True))) / n_probes
    gradients = torch.autograd.grad(trace.sum(), list(leaves.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(leaves, gradients, strict=True))


def top_eigenvalues(
    network: Network, loss: Loss, parameters: Parameters, inputs: Tensor, *, n: int = 3, n_lanczos: int = 16, seed: int = 0
) -> Tensor:
    """The n largest eigenvalues of H of each run, (R, n), decreasing, from `n_lanczos` steps of Lanczos.

    They are Ritz values, so never above the true ones; the largest has converged to a few digits.
    """
    outputs, pull = network.pullback(parameters, inputs)
    factors = torch.stack(list(loss.curvature_factors(outputs)))
    stream = generator(seed, PROBES)
    names = list(parameters)

    def flat(gradient: Parameters) -> Tensor:
        return torch.cat([gradient[name].flatten(1) for name in names], dim=1)

    def product(v: Tensor) -> Tensor:
        parts = v.split([parameters[name][0].numel() for name in names], dim=1)
        tangent = {name: part.view_as(parameters[name]) for name, part in zip(names, parts, strict=True)}
        push = torch.func.jvp(lambda w: network.forward(w, inputs), (parameters,), (tangent,))[1]
        return flat(pull(((factors * push).sum(dim=-1, keepdim=True) * factors).sum(dim=0)))

    n_runs = len(outputs)
    total = sum(parameters[name][0].numel() for name in names)
    q = torch.randn(1, total, generator=stream).to(outputs).expand(n_runs, -1)
    basis = [q / q.norm(dim=1, keepdim=True)]
    tridiagonal = torch.zeros(n_runs, n_lanczos, n_lanczos, dtype=outputs.dtype, device=outputs.device)
    for i in range(n_lanczos):
        r = product(basis[i])
        tridiagonal[:, i, i] = (r * basis[i]).sum(dim=1)
        for _ in range(2):  # orthogonal to rounding: single precision loses it within a few steps
            for b in basis:
                r = r - (r * b).sum(dim=1, keepdim=True) * b
        size = r.norm(dim=1, keepdim=True)
        if i + 1 < n_lanczos:
            tridiagonal[:, i, i + 1] = tridiagonal[:, i + 1, i] = size[:, 0]
            basis.append(r / size.clamp_min(torch.finfo(r.dtype).tiny))
    known = torch.isfinite(tridiagonal).flatten(1).all(dim=1)
    tridiagonal[~known] = 0
    found = torch.linalg.eigvalsh(tridiagonal.double()).flip(-1)[:, :n]
    found[~known] = torch.inf  # the run is diverging
    return found.to(outputs.dtype)


def _signs(factors: Tensor, stream: torch.Generator) -> Tensor:
    """Independent for each factor and sample, the same for all runs: (n_factors, 1, B, 1)."""
    return torch.randint(2, (len(factors), 1, factors.shape[2], 1), generator=stream).to(factors) * 2 - 1


def _squares(gradient: Parameters) -> Tensor:
    return sum((value.flatten(1).square().sum(dim=1) for value in gradient.values()), torch.zeros(()))
