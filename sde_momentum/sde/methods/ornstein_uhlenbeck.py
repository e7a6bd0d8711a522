"""Exact steps of the Ornstein-Uhlenbeck process, of any size."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from ..equation import Equation
from ..ornstein_uhlenbeck import OrnsteinUhlenbeck
from .base import Method


class ExactOrnsteinUhlenbeck(Method):
    """Exact transition: X_{n+1} = m + e^{-A h} (X_n - m) + L xi, L L^T = int_0^h e^{-A s} B B^T e^{-A^T s} ds."""

    name = "exact"
    source = "Gillespie 1996, Phys. Rev. E 54; the integral by Van Loan 1978, IEEE Trans. Autom. Control 23"
    strong_order: ClassVar[float | None] = None
    weak_order = np.inf
    equation = OrnsteinUhlenbeck
    step = """
    new@ = shift@ + (decay.x)@ + (spread.xi)@
    """

    @classmethod
    def n_numbers(cls, equation: Equation) -> int:
        """One per component: L is square, whatever the number of Wiener processes."""
        return equation.dim

    @classmethod
    def constants(cls, equation: Equation, h: float) -> dict[str, NDArray[np.float64]]:
        assert isinstance(equation, OrnsteinUhlenbeck)
        decay, covariance = transition(equation.rate_matrix, equation.noise_matrix @ equation.noise_matrix.T, h)
        values, basis = np.linalg.eigh((covariance + covariance.T) / 2)
        shift = equation.mean_vector - decay @ equation.mean_vector
        return {"shift": shift, "decay": decay, "spread": basis * np.sqrt(np.maximum(values, 0.0))}


def transition(a: NDArray[np.float64], diffusion: NDArray[np.float64], h: float) -> tuple[NDArray[np.float64], ...]:
    """e^{-A h} and int_0^h e^{-A s} D e^{-A^T s} ds."""
    d = len(a)
    # the block exponential contains e^{A h}, whose rounding swamps the integral where A h is large: it is taken for a
    # short step, which is then doubled without e^{A h}
    doublings = math.ceil(math.log2(max(1.0, h * float(np.linalg.norm(a, 1)))))
    short = h / 2.0**doublings
    # Van Loan's block exponential; the covariance is its lower right times upper right block
    block = expm(short * np.block([[a, diffusion], [np.zeros((d, d)), -a.T]]))
    decay = block[d:, d:].T
    covariance = decay @ block[:d, d:]
    for _ in range(doublings):
        covariance = covariance + decay @ covariance @ decay.T
        decay = decay @ decay
    return decay, covariance
