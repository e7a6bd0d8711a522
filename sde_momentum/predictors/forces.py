"""The forces along Gamma, from label noise to dropout: one class each, and the contract `Force` [theory: Forces].

A force pulls w by -G(w) per step squared. Its stiffness along a unit displacement x is k = x . grad_x G. The fields of several
forces add up. The momentum that damps them: `MomentumRule.from_forces`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from ..core.errors import InputError, check, check_integer, check_non_negative, check_one, check_positive
from ..dynamics.drift_diffusion import coefficients_along
from ..geometry.manifold_point import ManifoldPoint
from ..problems.problem import Array, Problem
from ..theory import formulas

Field = Callable[[Array], Array]
"""G(w) of the pull -G, in units of w per step squared: (n, N) -> (n, N)."""


class Force(ABC):
    """A source of force along Gamma.

    A member gives the field G of its pull -G on w, from which `stiffness` follows. Fields of several forces add up where their
    noises are independent of each other.
    """

    @abstractmethod
    def pull(self, problem: Problem, lr: float, one_minus_beta: float, nesterov: bool = False) -> Field:
        """G of the update with this lr and 1 - beta, in units of w per step squared.

        Raises InputError for a problem that the force does not describe.
        """

    def stiffness(
        self, point: ManifoldPoint, displacement: Array, lr: float, one_minus_beta: float, *, nesterov: bool = False
    ) -> float:
        """k(delta) along a displacement from `point`, per step squared [theory: Forces].

        Args:
            point: on Gamma, where the force vanishes or is linearised
            displacement: (N,), of which only the part along Gamma counts
            lr: eta > 0
            one_minus_beta: delta in (0, 1]
            nesterov: the gradient is taken at w + beta v

        Raises:
            InputError: for a value out of range, or a displacement without a part along Gamma.
        """
        rate = check_one(check_positive, lr, "lr")
        delta = check_one(check_positive, one_minus_beta, "one_minus_beta")
        return point.stiffness(self.pull(point.problem, rate, delta, nesterov), displacement)


def _spectral(problem: Problem, one_minus_beta: float, weight: Callable[[Array], Array]) -> Field:
    """delta grad sum_j V(lambda_j), lambda_j the Hessian's eigenvalues, with dV/dlambda = weight(lambda) per step."""
    return lambda w: one_minus_beta * problem.spectral_gradient(w, weight)


@dataclass(frozen=True)
class LabelNoise(Force):
    """Label noise of strength c (eta / eta0)^p, exact at finite lr [theory: Drift; Forces].

        k = delta x . (Hess V) x,   V = sum_j V(lambda_j),   dV/dlambda the drift's weight of a mode of eigenvalue lambda

    At small eta k = eta^2 c mu / (4 delta), mu the curvature of tr H along x; with Nesterov's update each mode's share of it is
    divided by 1 + eta lambda_j / delta.

    Args:
        noise: c = sigma^2 / B at eta0, in units of the loss, >= 0
        power: p; 0 for noise of fixed strength. Below -1/2 the normal modes would be overdamped at the rule's 1 - beta
            (`formulas.scaled_noise_one_minus_beta` says what is best there).
        reference_lr: eta0 > 0

    >>> import numpy as np, sde_momentum as sm
    >>> valley = sm.Valley([1.0, 2.0], 0.0, curvature=0.5)
    >>> point = sm.ManifoldPoint(valley, valley.start(0.0))
    >>> k = LabelNoise(0.01).stiffness(point, np.array([1.0, 0, 0]), 1e-4, 0.01)
    >>> round(k / (1e-8 * 0.01 * 0.5 / 0.04), 3)
    1.0
    """

    noise: float
    power: float = 0.0
    reference_lr: float = 1.0

    def __post_init__(self) -> None:
        check_one(check_non_negative, self.noise, "noise")
        check("power", self.power, np.isfinite, "a finite number")
        check_one(check_positive, self.reference_lr, "reference_lr")

    def pull(self, problem: Problem, lr: float, one_minus_beta: float, nesterov: bool = False) -> Field:
        weight = formulas.nesterov_drift_weight if nesterov else formulas.heavy_ball_drift_weight
        noise = self.noise * (lr / self.reference_lr) ** self.power
        return _spectral(problem, one_minus_beta, lambda eigenvalues: weight(lr, eigenvalues, one_minus_beta, noise))


@dataclass(frozen=True)
class LocalSGD(Force):
    """Label noise of K workers that average positions and velocities every H steps [theory: Forces].

        k = (1 + (K - 1) psi) / K times one worker's,  psi = 1 - (1 - beta^H) / (H delta)

    At H = 1 it is a batch of all workers. At small delta psi = (exp(-x) - 1 + x) / x at x = H delta, because the energies of
    underdamped modes relax at the rate delta. Workers that keep their own velocities are not described.

    Args:
        noise: c = sigma^2 / B of one worker, >= 0
        n_workers: K >= 1
        local_steps: H >= 1

    Source: Gu, Lyu, Huang, Arora 2023 (arXiv 2303.01215) for SGD; the relaxation with momentum: [theory: Relaxation].
    """

    noise: float
    n_workers: int
    local_steps: int

    def __post_init__(self) -> None:
        check_one(check_non_negative, self.noise, "noise")
        check_integer(self.n_workers, "n_workers", 1)
        check_integer(self.local_steps, "local_steps", 1)

    def pull(self, problem: Problem, lr: float, one_minus_beta: float, nesterov: bool = False) -> Field:
        share = float(formulas.local_sgd_share(one_minus_beta, self.n_workers, self.local_steps))
        return LabelNoise(self.noise * share).pull(problem, lr, one_minus_beta, nesterov)


@dataclass(frozen=True)
class WeightDecay(Force):
    """weight_decay |w|^2 / 2 in the loss [theory: Forces].

        k = eta h,  h = weight_decay x . (I - sum_i nu_i hess f_i) x,   J^T nu = the normal part of w

    On a curved Gamma h is not `weight_decay`: on a circle around 0 it is 0, on u v = 1 at (1, 1) twice that.
    """

    weight_decay: float

    def __post_init__(self) -> None:
        check_one(check_non_negative, self.weight_decay, "weight_decay")

    def pull(self, problem: Problem, lr: float, one_minus_beta: float, nesterov: bool = False) -> Field:
        return lambda w: lr * self.weight_decay * w


@dataclass(frozen=True)
class ParameterNoise(Force):
    """The gradient is taken at w + s z, z standard normal and fresh each step [theory: Forces].

        k = eta s^2 mu / 2 + the stiffness of gradient noise of covariance s^2 H^2

    To second order in s. At small eta the second part is eta^2 s^2 (tr H^2)'' / (8 delta), the derivatives along x.
    `variance` is s^2 in squared parameter units, >= 0.
    """

    variance: float

    def __post_init__(self) -> None:
        check_one(check_non_negative, self.variance, "variance")

    def pull(self, problem: Problem, lr: float, one_minus_beta: float, nesterov: bool = False) -> Field:
        weight = formulas.nesterov_parameter_noise_drift_weight if nesterov else formulas.heavy_ball_parameter_noise_drift_weight
        return _spectral(problem, one_minus_beta, lambda eigenvalues: weight(lr, eigenvalues, one_minus_beta, self.variance))


@dataclass(frozen=True, eq=False)
class GradientNoise(Force):
    """Gradient noise of covariance Sigma(w) = B B^T [theory: Relaxation; Drift].

        k = (eta^2 / (2 delta)) x . grad_x (dH : X)
        X_ij = Sigma_ij 2 C^2 / ((lambda_i - lambda_j)^2 + 2 C^2 (lambda_i + lambda_j)),   C = delta / sqrt(eta)

    i, j are eigenvectors of H. The part in brackets depends on delta through C where they turn along Gamma. It holds at small
    eta, with Nesterov's update for eta lambda_j below delta. Noise along Gamma also makes w diffuse, which is no force and is
    left out. Where J loses rank, as at matrix sensing's low-rank solution, the pull has no derivative (InputError): choose a
    point before it.

    Args:
        factor: w (N,) -> B(w), (N, r), in units of the gradient
    """

    factor: Callable[[Array], Array]

    def __post_init__(self) -> None:
        if not callable(self.factor):
            raise InputError("factor", self.factor, "a function w -> B(w)")

    def pull(self, problem: Problem, lr: float, one_minus_beta: float, nesterov: bool = False) -> Field:
        scaled = one_minus_beta / np.sqrt(lr)

        def field(w: Array) -> Array:
            _check_rank(problem, w)
            factors = np.stack([self.factor(x) for x in w])
            drift, _ = coefficients_along(problem, w, factors, scaled)
            return -(lr**2) / one_minus_beta * drift

        return field


def _check_rank(problem: Problem, w: Array) -> None:
    """Refuse points where J loses rank: the step of the derivative would open further normal directions."""
    eigenvalues = np.square(np.linalg.svd(problem.jacobian(w), compute_uv=False))
    share = eigenvalues / eigenvalues[:, :1]
    if np.any((share > 1e-12) & (share < 1e-8)):
        raise InputError("point", "one where J loses rank", "a point where J keeps its rank, for noise other than label noise")


@dataclass(frozen=True, eq=False)
class SamplingNoise(Force):
    """Mini-batches drawn without replacement from samples whose residuals are frozen [theory: Forces].

        Sigma = (P - B) / (B (P - 1)) (1/P) sum_i r_i^2 J_i J_i^T

    With equal r_i^2 it is label noise of c = r^2 (P - B) / (B (P - 1)), `formulas.minibatch_noise`. It does not hold where
    residuals move with the normal modes: at interpolation r_i = 0 and the force vanishes, and with label noise the modes' own
    residuals add multiplicative noise of relative order eta lambda P / (B delta), which is left out.

    Args:
        residuals: r_i = f_i - y_i, (P,), in units of f
        batch_size: B, from 1 to P
    """

    residuals: ArrayLike
    batch_size: int

    def __post_init__(self) -> None:
        residuals = check("residuals", self.residuals, np.isfinite, "finite numbers")
        if residuals.ndim != 1 or len(residuals) < 2:
            raise InputError("residuals", f"shape {residuals.shape}", "shape (P,), P >= 2")
        if check_integer(self.batch_size, "batch_size", 1) > len(residuals):
            raise InputError("batch_size", self.batch_size, f"a whole number from 1 to {len(residuals)}")

    def pull(self, problem: Problem, lr: float, one_minus_beta: float, nesterov: bool = False) -> Field:
        r = np.asarray(self.residuals, dtype=np.float64)
        p = len(r)
        if p != problem.n_outputs:
            raise InputError("residuals", f"shape {r.shape}", f"shape ({problem.n_outputs},)")
        scale = np.sqrt(formulas.minibatch_noise(np.square(r), p, self.batch_size) / p)
        return GradientNoise(lambda w: problem.jacobian(w).T * scale).pull(problem, lr, one_minus_beta, nesterov)


@runtime_checkable
class HiddenUnits(Protocol):
    """What a problem brings for `Dropout`: outputs that are sums over hidden units, f_i = sum_h t_ih."""

    def unit_outputs(self, w: Array) -> Array:
        """t_ih: (n, N) -> (n, P, width)."""

    def unit_gradient(self, w: Array, weights: Array) -> Array:
        """sum_ih weights_ih grad t_ih: (n, N), (n, P, width) -> (n, N)."""

    def without_units(self) -> Array:
        """Row h: 0 at the parameters of unit h, 1 elsewhere, (width, N)."""


@dataclass(frozen=True)
class Dropout(Force):
    """Dropout of hidden units, for problems whose outputs are sums over them, f_i = sum_h t_ih (`HiddenUnits`).

        k = eta x . (Hess R) x + the stiffness of gradient noise of covariance q sum_h s_h s_h^T
        R = (q / (1 - q)) (1 / (2P)) sum_ih t_ih^2,   s_h = (1/P) sum_i t_ih J_i without unit h

    Unit h is kept with probability 1 - q and then scaled by 1 / (1 - q), by one mask a step for all samples. R is exact; the
    noise is that at interpolation, to leading order in q. It does not hold where R pulls w far from f = y: residuals of order
    q are left out.

    Args:
        rate: q in [0, 1)

    Source: the regulariser of Mianjy, Arora, Vidal 2018 (arXiv 1806.09777).
    """

    rate: float

    def __post_init__(self) -> None:
        check("rate", self.rate, lambda q: (q >= 0) & (q < 1), "a number in [0, 1)")

    @property
    def mask_variance(self) -> float:
        """q / (1 - q), the variance of a unit's scaled mask."""
        return self.rate / (1 - self.rate)

    def regulariser_gradient(self, problem: Problem, w: Array) -> Array:
        """grad R: (n, N) -> (n, N). Raises InputError for a problem without `HiddenUnits`."""
        units = _hidden_units(problem)
        return self.mask_variance / problem.n_outputs * units.unit_gradient(w, units.unit_outputs(w))

    def noise_factor(self, problem: Problem, w: Array) -> Array:
        """sqrt(q) (s_1, ..., s_width): (N,) -> (N, width). A dropped unit has no gradient of its own."""
        units = _hidden_units(problem)
        without = units.without_units()
        jacobian = problem.jacobian(np.tile(w, (len(without), 1)) * without)  # (width, P, N)
        shared = np.einsum("ih,hin->nh", units.unit_outputs(w[None])[0], jacobian) * without.T
        return np.asarray(np.sqrt(self.rate) / problem.n_outputs * shared)

    def pull(self, problem: Problem, lr: float, one_minus_beta: float, nesterov: bool = False) -> Field:
        noise = GradientNoise(lambda w: self.noise_factor(problem, w)).pull(problem, lr, one_minus_beta, nesterov)
        return lambda w: lr * self.regulariser_gradient(problem, w) + noise(w)


def _hidden_units(problem: Problem) -> HiddenUnits:
    if not isinstance(problem, HiddenUnits):
        raise InputError("problem", type(problem).__name__, "a problem with hidden units (`HiddenUnits`), such as MatrixSensing")
    return problem
