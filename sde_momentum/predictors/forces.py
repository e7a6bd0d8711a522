"""The forces along Gamma, from label noise to dropout: one class each, and the contract `Force` [theory: Forces].

A force adds -G(w) to v at each step; its stiffness along a unit displacement x is k [theory: Forces, eq. 6.4]. Fields of several
forces add up. `MomentumRule.from_forces` gives the momentum that damps their sum.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from ..core.arguments import by_annotations
from ..core.errors import InputError, check, check_integer, check_non_negative, check_one, check_one_minus_beta, check_positive
from ..dynamics.drift_diffusion import coefficients_along
from ..geometry.manifold_point import ManifoldPoint
from ..problems.problem import Array, Problem
from ..theory import formulas

Field = Callable[[Array], Array]
"""The field G(w) of a force, in units of w per step squared: (n, N) -> (n, N)."""


class Force(ABC):
    """A source of force along Gamma. A subclass gives the field G of `pull`, from which `stiffness` follows.

    Fields of several forces add up if their noises are independent of each other.
    """

    @abstractmethod
    def pull(self, problem: Problem, lr: float, one_minus_beta: float, nesterov: bool = False) -> Field:
        """The field G at this lr and 1 - beta, in units of w per step squared; the force pulls w by -G.

        Raises InputError for a problem that the force does not describe.
        """

    @by_annotations
    def stiffness(
        self, point: ManifoldPoint, displacement: Array, lr: float, one_minus_beta: float, *, nesterov: bool = False
    ) -> float:
        """k(delta) along a displacement from `point`, per step squared [theory: Forces, eq. 6.4].

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
        delta = check_one(check_one_minus_beta, one_minus_beta, "one_minus_beta")
        found = point.stiffness(self.pull(point.problem, rate, delta, nesterov), displacement)
        if not np.isfinite(found):
            raise InputError("lr", rate, f"a learning rate at which training is stable with 1 - beta = {delta:.6g}")
        return found


def _spectral(problem: Problem, one_minus_beta: float, weight: Callable[[Array], Array]) -> Field:
    """G = delta grad sum_j V(lambda_j), lambda_j the Hessian's eigenvalues and dV/dlambda = weight(lambda) [theory: Forces]."""
    return lambda w: one_minus_beta * problem.spectral_gradient(w, weight)


@by_annotations
@dataclass(frozen=True)
class LabelNoise(Force):
    """Label noise of strength c (eta / eta0)^p, exact at finite lr [theory: Drift, eq. 3.2; Drift, eq. 3.4].

        k = delta x . (Hess sum_j V(lambda_j)) x,   dV/dlambda the weight of the drift

    At small eta k = eta^2 c mu / (4 delta), mu the curvature of tr H along x [theory: Effective loss, eq. 5.4]; with Nesterov
    momentum each mode's share of it is divided by 1 + eta lambda_j / delta.

    Args:
        noise: c = sigma^2 / B at eta0, in units of the loss, >= 0
        power: p; 0 for noise of fixed strength. Below -1/2 the rule's 1 - beta would overdamp the normal modes; there
            `formulas.scaled_noise_one_minus_beta` gives the best [theory: Forces, eq. 6.9].
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

    @by_annotations
    def pull(self, problem: Problem, lr: float, one_minus_beta: float, nesterov: bool = False) -> Field:
        weight = formulas.nesterov_drift_weight if nesterov else formulas.heavy_ball_drift_weight
        noise = self.noise * (lr / self.reference_lr) ** self.power
        return _spectral(problem, one_minus_beta, lambda eigenvalues: weight(lr, eigenvalues, one_minus_beta, noise))


@by_annotations
@dataclass(frozen=True)
class LocalSGD(Force):
    """Label noise of K workers that average positions and velocities every H steps [theory: Forces, eq. 6.8].

        k = (1 + (K - 1) psi) / K times that of one worker,  psi = 1 - (1 - beta^H) / (H delta)

    At H = 1 it is a batch of all workers. At small delta psi = (exp(-x) - 1 + x) / x at x = H delta, because the energies of
    underdamped modes relax at the rate delta. Workers that keep their own velocities are not described.

    Args:
        noise: c = sigma^2 / B of one worker, >= 0
        n_workers: K >= 1
        local_steps: H >= 1

    Source: Gu, Lyu, Huang, Arora 2023 (arXiv 2303.01215) for SGD; the relaxation with momentum: [theory: Relaxation].

    >>> from sde_momentum import Valley
    >>> valley = Valley([1.0, 2.0], 0.0, curvature=0.5)
    >>> point, along = ManifoldPoint(valley, valley.start(0.0)), np.array([1.0, 0.0, 0.0])
    >>> forces = LabelNoise(1e-3), LocalSGD(1e-3, n_workers=4, local_steps=10)
    >>> one, four = (force.stiffness(point, along, lr=0.01, one_minus_beta=0.05) for force in forces)
    >>> round(four / one, 3)  # a quarter if they averaged at every step
    0.398
    """

    noise: float
    n_workers: int
    local_steps: int

    def __post_init__(self) -> None:
        check_one(check_non_negative, self.noise, "noise")
        check_integer(self.n_workers, "n_workers", 1)
        check_integer(self.local_steps, "local_steps", 1)

    @by_annotations
    def pull(self, problem: Problem, lr: float, one_minus_beta: float, nesterov: bool = False) -> Field:
        share = float(formulas.local_sgd_share(one_minus_beta, self.n_workers, self.local_steps))
        return LabelNoise(self.noise * share).pull(problem, lr, one_minus_beta, nesterov)


@by_annotations
@dataclass(frozen=True)
class WeightDecay(Force):
    """Weight decay: weight_decay |w|^2 / 2 in the loss [theory: Forces, eq. 6.5].

        k = eta h,  h = weight_decay x . (I - sum_i nu_i hess f_i) x,   J^T nu = the normal part of w

    Where Gamma is curved h differs from `weight_decay`: 0 on a circle around 0, twice as much on u v = 1 at (1, 1).
    """

    weight_decay: float

    def __post_init__(self) -> None:
        check_one(check_non_negative, self.weight_decay, "weight_decay")

    @by_annotations
    def pull(self, problem: Problem, lr: float, one_minus_beta: float, nesterov: bool = False) -> Field:
        return lambda w: lr * self.weight_decay * w


@by_annotations
@dataclass(frozen=True)
class ParameterNoise(Force):
    """Parameter noise: the gradient is taken at w + s z, z standard normal, drawn anew at each step
    [theory: Forces, eq. 6.6; Forces, eq. 6.7].

        k = eta s^2 mu / 2 + the stiffness of gradient noise of covariance s^2 H^2

    To second order in s. At small eta the second part is eta^2 s^2 (tr H^2)'' / (8 delta), the derivatives along x.
    `variance` is s^2 in squared parameter units, >= 0.

    >>> from sde_momentum import Valley
    >>> valley = Valley([1.0, 2.0], 0.0, curvature=0.5)
    >>> point, along = ManifoldPoint(valley, valley.start(0.0)), np.array([1.0, 0.0, 0.0])
    >>> bool(ParameterNoise(1e-4).stiffness(point, along, lr=0.01, one_minus_beta=0.05) > 0.01 * 1e-4 * 0.5 / 2)
    True
    """

    variance: float

    def __post_init__(self) -> None:
        check_one(check_non_negative, self.variance, "variance")

    @by_annotations
    def pull(self, problem: Problem, lr: float, one_minus_beta: float, nesterov: bool = False) -> Field:
        weight = formulas.nesterov_parameter_noise_drift_weight if nesterov else formulas.heavy_ball_parameter_noise_drift_weight
        return _spectral(problem, one_minus_beta, lambda eigenvalues: weight(lr, eigenvalues, one_minus_beta, self.variance))


@by_annotations
@dataclass(frozen=True, eq=False)
class GradientNoise(Force):
    """Gradient noise of covariance Sigma(w) = B B^T [theory: Relaxation, eq. 2.14; Drift, eq. 3.11].

        k = (eta^2 / (2 delta)) x . grad_x (dH : X)
        X_ij = Sigma_ij 2 C^2 / ((lambda_i - lambda_j)^2 + 2 C^2 (lambda_i + lambda_j)),   C = delta / sqrt(eta)

    i, j are eigenvectors of H; where they turn along Gamma, dH : X depends on delta through C. It holds at small eta, with
    Nesterov momentum for eta lambda_j below delta. The diffusion of w by noise along Gamma is no force and is left out. Where J
    loses rank, as at matrix sensing's low-rank solution, G has no derivative (InputError): choose a point before it.

    Args:
        factor: function from w (N,) to B(w), (N, r), in units of the gradient

    >>> from sde_momentum import Valley
    >>> valley = Valley([1.0, 2.0], 0.0, curvature=0.5)
    >>> point, along = ManifoldPoint(valley, valley.start(0.0)), np.array([1.0, 0.0, 0.0])
    >>> noise = GradientNoise(lambda w: np.sqrt(1e-3 / 2) * valley.jacobian(w).T)  # that of label noise with c = 1e-3
    >>> k, exact = (force.stiffness(point, along, lr=0.001, one_minus_beta=0.05) for force in (noise, LabelNoise(1e-3)))
    >>> round(k / exact, 2)
    1.0
    """

    factor: Callable[[Array], Array]

    def __post_init__(self) -> None:
        if not callable(self.factor):
            raise InputError("factor", self.factor, "a function w -> B(w)")

    @by_annotations
    def pull(self, problem: Problem, lr: float, one_minus_beta: float, nesterov: bool = False) -> Field:
        scaled = one_minus_beta / np.sqrt(lr)

        def field(w: Array) -> Array:
            _check_rank(problem, w)
            factors = np.stack([self.factor(x) for x in w])
            drift, _ = coefficients_along(problem, w, factors, scaled)
            return -(lr**2) / one_minus_beta * drift

        return field


def _check_rank(problem: Problem, w: Array) -> None:
    """Raise InputError where J loses rank: the finite-difference step would add normal modes."""
    eigenvalues = np.square(np.linalg.svd(problem.jacobian(w), compute_uv=False))
    share = eigenvalues / eigenvalues[:, :1]
    if np.any((share > 1e-12) & (share < 1e-8)):
        raise InputError(
            "point",
            "one where J loses rank",
            "a point where the Jacobian of the outputs has full rank; LabelNoise alone works elsewhere",
        )


@by_annotations
@dataclass(frozen=True, eq=False)
class SamplingNoise(Force):
    """Sampling noise: batches drawn without replacement from samples of fixed residuals [theory: Forces, eq. 6.10].

        Sigma = (P - B) / (B (P - 1)) (1/P) sum_i r_i^2 J_i J_i^T

    With equal r_i^2 it is label noise of c = r^2 (P - B) / (B (P - 1)) [theory: Forces, eq. 6.11]. At interpolation r_i = 0 and
    the force vanishes. Residuals that move with the normal modes add multiplicative noise of relative order
    eta lambda P / (B delta), which is left out.

    Args:
        residuals: r_i = f_i - y_i, (P,), in units of f
        batch_size: B, from 1 to P

    >>> from sde_momentum import Valley
    >>> valley = Valley([1.0, 2.0], 0.0, curvature=0.5)
    >>> point, along = ManifoldPoint(valley, valley.start(0.0)), np.array([1.0, 0.0, 0.0])
    >>> noise = SamplingNoise([0.1, 0.1], batch_size=1)  # label noise of c = 0.01
    >>> k, exact = (force.stiffness(point, along, lr=0.001, one_minus_beta=0.05) for force in (noise, LabelNoise(0.01)))
    >>> round(k / exact, 2)
    1.0
    """

    residuals: ArrayLike
    batch_size: int

    def __post_init__(self) -> None:
        residuals = check("residuals", self.residuals, np.isfinite, "finite numbers")
        if residuals.ndim != 1 or len(residuals) < 2:
            raise InputError("residuals", f"shape {residuals.shape}", "shape (P,), P >= 2")
        if check_integer(self.batch_size, "batch_size", 1) > len(residuals):
            raise InputError("batch_size", self.batch_size, f"a whole number from 1 to {len(residuals)}")

    @by_annotations
    def pull(self, problem: Problem, lr: float, one_minus_beta: float, nesterov: bool = False) -> Field:
        r = np.asarray(self.residuals, dtype=np.float64)
        p = len(r)
        if p != problem.n_outputs:
            raise InputError("residuals", f"shape {r.shape}", f"shape ({problem.n_outputs},)")
        scale = np.sqrt(formulas.minibatch_noise(np.square(r), p, self.batch_size) / p)
        return GradientNoise(lambda w: problem.jacobian(w).T * scale).pull(problem, lr, one_minus_beta, nesterov)


@runtime_checkable
class HiddenUnits(Protocol):
    """What `Dropout` needs of a problem: outputs that are sums over hidden units, f_i = sum_h t_ih.

    >>> from sde_momentum import MatrixSensing
    >>> problem = MatrixSensing(4, 1, 12)
    >>> isinstance(problem, HiddenUnits)
    True
    """

    def unit_outputs(self, w: Array) -> Array:
        """t_ih: (n, N) -> (n, P, width)."""

    def unit_gradient(self, w: Array, weights: Array) -> Array:
        """sum_ih weights_ih grad t_ih: (n, N), (n, P, width) -> (n, N)."""

    def without_units(self) -> Array:
        """Masks of the parameters, (width, N): row h is 0 at those of unit h and 1 elsewhere."""


@by_annotations
@dataclass(frozen=True)
class Dropout(Force):
    """Dropout of hidden units, for problems of outputs f_i = sum_h t_ih (`HiddenUnits`) [theory: Forces, eq. 6.12].

        k = eta x . (Hess R) x + the stiffness of gradient noise of covariance q sum_h s_h s_h^T
        R = (q / (1 - q)) (1 / (2P)) sum_ih t_ih^2,   s_h = (1/P) sum_i t_ih J_i without unit h

    Unit h is kept with probability 1 - q and then scaled by 1 / (1 - q); each step has one mask for all samples. R is exact. The
    noise is that on Gamma to leading order in q: the residuals of order q that R causes are left out.

    Args:
        rate: q in [0, 1)

    Source: the regulariser of Mianjy, Arora, Vidal 2018 (arXiv 1806.09777).

    >>> from sde_momentum import MatrixSensing
    >>> problem = MatrixSensing(4, 1, 12)
    >>> point = ManifoldPoint(problem, problem.interpolating_start())
    >>> more, less = (Dropout(rate).stiffness(point, np.ones(problem.n_parameters), 0.01, 0.05) for rate in (0.02, 0.01))
    >>> bool(more > less > 0)
    True
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

    @by_annotations
    def pull(self, problem: Problem, lr: float, one_minus_beta: float, nesterov: bool = False) -> Field:
        noise = GradientNoise(lambda w: self.noise_factor(problem, w)).pull(problem, lr, one_minus_beta, nesterov)
        return lambda w: lr * self.regulariser_gradient(problem, w) + noise(w)


def _hidden_units(problem: Problem) -> HiddenUnits:
    if not isinstance(problem, HiddenUnits):
        raise InputError("problem", type(problem).__name__, "a problem with hidden units (`HiddenUnits`), such as MatrixSensing")
    return problem
