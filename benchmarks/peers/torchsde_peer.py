"""torchsde with Euler's method: its default Brownian motion, and increments drawn afresh (the fastest that it accepts).

The default, BrownianInterval, can be queried anywhere and twice; a fixed step without adjoint needs neither, so a
Brownian motion that only draws normals is correct here. The library has no such class of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torchsde

from .problems import CriticalValley, Moments, OrnsteinUhlenbeck

torch.set_default_dtype(torch.float64)


class FreshIncrements(torchsde.BaseBrownian):
    """W(t1) - W(t0), drawn anew at every call: right only if no interval is asked for twice."""

    def __init__(self, size: tuple[int, ...]) -> None:
        self._out = torch.empty(size)

    def __call__(self, ta: Any, tb: Any = None, return_U: bool = False, return_A: bool = False) -> torch.Tensor:
        return self._out.normal_(std=float(tb - ta) ** 0.5)

    def __repr__(self) -> str:
        return f"FreshIncrements({tuple(self._out.shape)})"

    dtype = property(lambda self: self._out.dtype)
    device = property(lambda self: self._out.device)
    shape = property(lambda self: self._out.shape)
    levy_area_approximation = property(lambda self: "none")


class _Ou(torch.nn.Module):
    sde_type, noise_type = "ito", "diagonal"

    def __init__(self, problem: OrnsteinUhlenbeck) -> None:
        super().__init__()
        self.problem = problem

    def f_and_g_prod(self, t: Any, x: torch.Tensor, dw: torch.Tensor) -> Any:
        """Drift, and diffusion times increment."""
        return x * -self.problem.rate, dw * self.problem.noise


class _Valley(torch.nn.Module):
    """State (n_paths, 2 + n_modes) = theta, p, e; torchsde's batch comes first. Diagonal noise, zero on theta and p."""

    sde_type, noise_type = "ito", "general"

    def __init__(self, problem: CriticalValley) -> None:
        super().__init__()
        self.kappa, self.n_modes = problem.kappa, problem.n_modes
        self.base, self.slope, self.bend = map(torch.tensor, (problem.base, problem.slope, problem.bend))

    def f_and_g_prod(self, t: Any, y: torch.Tensor, dw: torch.Tensor) -> Any:
        """Drift, and diffusion times increment: the n_modes increments act on the energies alone."""
        theta, p, plus = y[:, :1], y[:, 1:2], y[:, 2:].clamp(min=0.0)
        lam = torch.addcmul(self.slope, 0.5 * self.bend, theta).mul_(theta).add_(self.base)
        pull = torch.addcmul(self.slope, self.bend, theta).mul_(plus).div_(lam)
        drift, kick = torch.empty_like(y), torch.zeros_like(y)
        drift[:, :1] = p
        drift[:, 1] = -(y[:, 1] + self.kappa * pull.sum(1))
        drift[:, 2:] = torch.addcmul(lam, pull, p, value=0.5).sub_(plus)
        torch.mul(plus.mul_(lam).mul_(2.0).sqrt_(), dw, out=kick[:, 2:])
        return drift, kick


def _solve(problem: Any, sde: torch.nn.Module, start: torch.Tensor, n_noises: int, default: bool) -> Callable[[int], Moments]:
    times = torch.arange(problem.n_times + 1) * (problem.stride * problem.dt)
    last = float(times[-1])

    @torch.no_grad()
    def run(seed: int) -> Moments:
        torch.manual_seed(seed)
        size = (problem.n_paths, n_noises)
        # dt tells the default where it will be asked, which is its documented way to be fast
        bm = torchsde.BrownianInterval(0.0, last, size=size, entropy=seed, dt=problem.dt) if default else FreshIncrements(size)
        means, variances = [], []
        state = start.repeat(problem.n_paths, 1)
        if default:
            stored = torchsde.sdeint(sde, state, times, bm=bm, dt=problem.dt, method="euler")[1:, :, 0]
            return Moments(stored.mean(1).numpy(), stored.var(1, correction=0).numpy())
        for first, then in pairwise(times):  # one record after another: nothing else is kept
            state = torchsde.sdeint(sde, state, torch.stack([first, then]), bm=bm, dt=problem.dt, method="euler")[-1]
            means.append(state[:, 0].mean())
            variances.append(state[:, 0].var(correction=0))
        return Moments(torch.stack(means).numpy(), torch.stack(variances).numpy())

    return run


def p1_default(problem: OrnsteinUhlenbeck) -> Callable[[int], Moments]:
    """BrownianInterval."""
    return _solve(problem, _Ou(problem), torch.tensor([[problem.start]]), 1, default=True)


def p1_fresh(problem: OrnsteinUhlenbeck) -> Callable[[int], Moments]:
    """Increments drawn afresh."""
    return _solve(problem, _Ou(problem), torch.tensor([[problem.start]]), 1, default=False)


def _valley(problem: CriticalValley, default: bool) -> Callable[[int], Moments]:
    start = torch.cat([torch.tensor([problem.start, 0.0]), torch.tensor(problem.start_energies)])[None]
    return _solve(problem, _Valley(problem), start, problem.n_modes, default)


def p2_default(problem: CriticalValley) -> Callable[[int], Moments]:
    """BrownianInterval."""
    return _valley(problem, default=True)


def p2_fresh(problem: CriticalValley) -> Callable[[int], Moments]:
    """Increments drawn afresh."""
    return _valley(problem, default=False)
