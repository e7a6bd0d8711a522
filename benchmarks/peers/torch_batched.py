"""PyTorch: the batch as one tensor, updated in place without autograd; and one nn.Module with torch.optim.SGD."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from .problems import CriticalValley, Floats, LabelNoise, Moments, OrnsteinUhlenbeck

torch.set_default_dtype(torch.float64)


def _moments(records: list[torch.Tensor]) -> Moments:
    mean, variance = torch.stack(records).T.numpy()
    return Moments(mean, variance)


def _record(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([x.mean(), x.var(correction=0)])


def _ou(problem: OrnsteinUhlenbeck, two_point: bool) -> Callable[[int], Moments]:
    @torch.inference_mode()
    def run(seed: int) -> Moments:
        torch.manual_seed(seed)
        x = torch.full((problem.n_paths,), problem.start)
        noise, records = torch.empty_like(x), []
        for _ in range(problem.n_times):
            for _ in range(problem.stride):
                if two_point:
                    noise.random_(0, 2).mul_(2).sub_(1)
                else:
                    noise.normal_()
                x.mul_(problem.decay).add_(noise, alpha=problem.kick)
            records.append(_record(x))
        return _moments(records)

    return run


def p1_normal(problem: OrnsteinUhlenbeck) -> Callable[[int], Moments]:
    """Tensor.normal_."""
    return _ou(problem, two_point=False)


def p1_two_point(problem: OrnsteinUhlenbeck) -> Callable[[int], Moments]:
    """Tensor.random_."""
    return _ou(problem, two_point=True)


def p2_normal(problem: CriticalValley) -> Callable[[int], Moments]:
    """Tensor.normal_; the same in-place operations as batched NumPy."""
    base, slope, bend = (torch.tensor(x)[:, None] for x in (problem.base, problem.slope, problem.bend))
    n, dt, half = problem.n_paths, problem.dt, 0.5 * bend

    @torch.inference_mode()
    def run(seed: int) -> Moments:
        torch.manual_seed(seed)
        theta, p = torch.full((n,), problem.start), torch.zeros(n)
        e = torch.tensor(problem.start_energies)[:, None].repeat(1, n)
        noise, records = torch.empty_like(e), []
        for _ in range(problem.n_times):
            for _ in range(problem.stride):
                lam = torch.addcmul(slope, half, theta).mul_(theta).add_(base)
                plus = e.clamp(min=0.0)
                pull = torch.addcmul(slope, bend, theta).mul_(plus).div_(lam)
                force = pull.sum(0)
                e.add_(lam, alpha=dt).sub_(plus, alpha=dt).addcmul_(pull, p, value=0.5 * dt)
                e.addcmul_(plus.mul_(lam).sqrt_(), noise.normal_(), value=(2 * dt) ** 0.5)
                theta.add_(p, alpha=dt)
                p.mul_(1 - dt).sub_(force, alpha=problem.kappa * dt)
            records.append(_record(theta))
        return _moments(records)

    return run


def p3_batched(problem: LabelNoise) -> Callable[[int], Floats]:
    """All seeds in one batch of matrices, gradients by hand."""
    n, d = problem.n_paths, problem.d

    @torch.inference_mode()
    def run(seed: int) -> Floats:
        torch.manual_seed(seed)
        a, y, u0, v0, solution = map(torch.tensor, problem.arrays())
        u, v = u0.repeat(n, 1, 1), v0.repeat(n, 1, 1)
        du, dv = torch.zeros_like(u), torch.zeros_like(v)
        xi, at, records = torch.empty(n, problem.n_measurements), a.T.contiguous(), []
        product, residual, s = torch.empty_like(u), torch.empty_like(xi), torch.empty(n, d * d)
        for _ in range(problem.n_times):
            for _ in range(problem.stride):
                xi.random_(0, 2).mul_(2 * problem.label_noise).sub_(problem.label_noise).add_(y)
                torch.bmm(u, v, out=product)
                torch.mm(product.view(n, -1), at, out=residual)
                torch.mm(residual.sub_(xi), a, out=s)
                batch = s.view(n, d, d)
                du.baddbmm_(batch, v.transpose(1, 2), beta=problem.momentum, alpha=-problem.lr / problem.n_measurements)
                dv.baddbmm_(u.transpose(1, 2), batch, beta=problem.momentum, alpha=-problem.lr / problem.n_measurements)
                u.add_(du)
                v.add_(dv)
            records.append(((u @ v - solution) ** 2).sum((1, 2)) / (solution**2).sum())
        return torch.stack(records, dim=1).numpy()

    return run


def p3_module(problem: LabelNoise) -> Callable[[int], Floats]:
    """One run after another of an nn.Module with autograd and torch.optim.SGD: what users write."""
    import sde_momentum as sm
    from validation.matrix_sensing.torch_sgd import MatrixSensingModule

    def run(seed: int) -> Floats:
        torch.manual_seed(seed)
        sensing = sm.MatrixSensing(problem.d, 1, problem.n_measurements)
        targets, solution = torch.tensor(sensing.targets), torch.tensor(sensing.solution)
        out = np.empty((problem.n_paths, problem.n_times))
        for path in range(problem.n_paths):
            model = MatrixSensingModule(sensing, sensing.random_start(0.1))
            optimizer = torch.optim.SGD(model.parameters(), lr=problem.lr, momentum=problem.momentum)
            for time in range(problem.n_times):
                for _ in range(problem.stride):
                    optimizer.zero_grad()
                    noise = problem.label_noise * (2.0 * torch.randint(0, 2, targets.shape) - 1.0)
                    (((model() - targets - noise) ** 2).mean() / 2).backward()
                    optimizer.step()
                with torch.no_grad():
                    out[path, time] = float(((model.u @ model.v - solution) ** 2).sum() / (solution**2).sum())
        return out

    return run
