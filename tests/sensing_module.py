"""Matrix sensing as a PyTorch user has it: a module, half the mean square as loss, and data."""

from __future__ import annotations

import torch


class Sensing(torch.nn.Module):
    """The outputs <A_i, U V> of a `sm.MatrixSensing`, from the factors at w."""

    def __init__(self, problem, w):
        super().__init__()
        self.u, self.v = (torch.nn.Parameter(torch.tensor(x)) for x in problem.factors(w))

    def forward(self, a):
        return (a * (self.u @ self.v)).sum((1, 2))


def half_square(f, y):
    return (f - y).square().mean() / 2


def data_of(problem):
    """Measurements and targets."""
    return torch.tensor(problem.measurements), torch.tensor(problem.targets)
