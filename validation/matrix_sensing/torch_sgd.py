"""The same runs in PyTorch: a problem as a module, trained by torch.optim.SGD with the simulator's noise."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

import sde_momentum as sm
from sde_momentum.core.random import LABEL_NOISE, draws

Floats = NDArray[np.float64]


class MatrixSensingModule(torch.nn.Module):
    """f_i = <A_i, U V> with parameters U and V, double precision."""

    def __init__(self, problem: sm.MatrixSensing, start: Floats) -> None:
        super().__init__()
        u, v = problem.factors(start)
        self.u, self.v = (torch.nn.Parameter(torch.tensor(x)) for x in (u, v))
        self.measurements = torch.tensor(problem.measurements.reshape(problem.n_outputs, -1))

    def forward(self) -> torch.Tensor:
        """Outputs (P,)."""
        return self.measurements @ (self.u @ self.v).ravel()

    def point(self) -> Floats:
        """The parameters as one vector (N,)."""
        return np.concatenate([x.detach().numpy().ravel() for x in (self.u, self.v)])


def train(
    problem: sm.MatrixSensing, start: Floats, lr: float, momentum: float, noisy_targets: Floats, *, nesterov: bool = False
) -> Floats:
    """Parameters (N,) after one step for each row of `noisy_targets` (n_steps, P).

    With `nesterov` torch's parameters are the look-ahead point w + beta v; w is returned.
    """
    model = MatrixSensingModule(problem, start)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum, nesterov=nesterov)
    for row in torch.tensor(noisy_targets):
        optimizer.zero_grad()
        (((model() - row) ** 2).mean() / 2).backward()
        optimizer.step()
    w = model.point()
    if nesterov:  # look-ahead = w + beta v, and torch's buffer is -v / lr
        buffers = [optimizer.state[x]["momentum_buffer"].numpy().ravel() for x in model.parameters()]
        w = w + momentum * lr * np.concatenate(buffers)
    return w


def difference(method: sm.LabelNoiseSGD, start: Floats, lr: float, momentum: float, seed: int, n_steps: int) -> float:
    """Largest relative difference in the test error over `n_steps` records of one full-batch run, simulator against torch."""
    problem = method.problem
    assert isinstance(problem, sm.MatrixSensing)
    steps = np.unique(np.linspace(1, n_steps, 5).astype(int))
    ours = sm.solve(
        method, start, steps, lr=lr, momentum=momentum, seeds=[seed], metrics=("test_error",)
    ).test_error.values.ravel()
    noise = draws(seed, LABEL_NOISE, (n_steps, problem.n_outputs), method.noise_law)
    targets = problem.targets + method.label_noise * noise
    theirs = [problem.test_error(train(problem, start, lr, momentum, targets[:n], nesterov=method.nesterov)) for n in steps]
    return float(np.max(np.abs(ours / np.array(theirs) - 1)))
