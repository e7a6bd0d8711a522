"""The mean force along Gamma under gradient noise of any covariance.

Near Gamma the loss is x^T H(theta) x / 2, so the mean force along theta is (1/2) sum_ij (dH_ij/dtheta) E x_i x_j: the
third derivative of the loss, two of its arguments normal to Gamma, contracted with the stationary covariance. In
the eigenbasis of H the diagonal of dH/dtheta is lambda_i' and the rest is (lambda_i - lambda_j) times the rate
at which the eigenvectors turn. Where the noise has a component along Gamma, diffusion along Gamma and the terms
that mix both come on top (Li, Wang, Arora, arXiv 2110.06914): they are not treated here.
"""

from __future__ import annotations

import sympy as sp

from .drift import heavy_ball_weight, nesterov_weight, weight
from .formula import Derivation, Formula, Step
from .oscillator import a, delta
from .pair_covariance import (
    ARGUMENTS,
    EVALUATED_HEAVY_BALL,
    EVALUATED_LOOKAHEAD,
    WHERE_HEAVY_BALL,
    WHERE_NESTEROV,
    b,
    below_both_limits,
    heavy_ball_pair,
    lookahead_pair,
    q,
    stationary_operator,
)
from .sections import Equation, Section
from .symbols import eigenvalue, lr, noise

# --- The mean force of two modes whose eigenvalues and eigenvectors move with theta ------------------
_theta, _x, _y, _turn, _slope_x, _slope_y = sp.symbols("theta x y turn slope_x slope_y", real=True)
_l_x, _l_y, _C = sp.symbols("lambda_x lambda_y C", positive=True)
_xx, _xy, _yy = sp.symbols("Sigma_xx Sigma_xy Sigma_yy", real=True)
_rotation = sp.Matrix([[sp.cos(_turn * _theta), -sp.sin(_turn * _theta)], [sp.sin(_turn * _theta), sp.cos(_turn * _theta)]])
_hessian = _rotation * sp.diag(_l_x + _slope_x * _theta, _l_y + _slope_y * _theta) * _rotation.T
_position = sp.Matrix([_x, _y])
_force = sp.expand(sp.diff((_position.T * _hessian * _position)[0, 0] / 2, _theta).subs(_theta, 0))
_s_xx, _s_xy, _s_yy = sp.symbols("S_xx S_xy S_yy", real=True)
_mean_force = _force.coeff(_x, 2) * _s_xx + _force.coeff(_x, 1).coeff(_y, 1) * _s_xy + _force.coeff(_y, 2) * _s_yy
_derivative = sp.diff(_hessian, _theta).subs(_theta, 0)  # dH/dtheta in the eigenbasis at theta = 0


def _contracted(covariance: sp.Matrix) -> sp.Expr:
    """sum_ij (dH_ij/dtheta) covariance_ij."""
    return sum((_derivative.multiply_elementwise(covariance))[:], sp.Integer(0))


def _entries(matrix: sp.Matrix) -> sp.Expr:
    """All entries in one expression, each with its own factor: equal iff the matrices are."""
    return sum((sp.Symbol(f"u_{i}") * entry for i, entry in enumerate(matrix)), sp.Integer(0))


# --- Small steps: the covariance is (eta / delta) X with X the stationary operator acting on Sigma --
_sigma = sp.Matrix([[_xx, _xy], [_xy, _yy]])


def operator(covariance: sp.Matrix, scaled: sp.Expr) -> sp.Matrix:
    """X_ij = Sigma_ij 2 C^2 / ((lambda_i - lambda_j)^2 + 2 C^2 (lambda_i + lambda_j)) at delta = C sqrt(eta)."""
    eigenvalues = (_l_x, _l_y)
    return sp.Matrix(2, 2, lambda i, j: covariance[i, j] * stationary_operator(eigenvalues[i], eigenvalues[j], scaled))


_moved = operator(_sigma, _C)
_few = _moved.applyfunc(lambda entry: sp.limit(entry, _C, sp.oo))  # gamma < 1/2
_many = _moved.applyfunc(lambda entry: sp.limit(entry, _C, 0))  # gamma > 1/2
_diagonal = sp.diag(_l_x, _l_y)

# Per step the drift is -(eta / (2 delta)) dH : S; the time t = k eta^2 / delta^2 is Li, Wang, Arora's at beta = 0.
_drift_per_step = -weight(_contracted((lr / delta) * _moved))
_drift = -_contracted(_moved) / 2
_off_diagonal = -(_l_x - _l_y) * _turn * _xy

heavy_ball_pair_weight = weight(heavy_ball_pair)
nesterov_pair_weight = weight(lookahead_pair)
_LABEL_NOISE = {q: lr**2 * noise * eigenvalue, b: a}

DERIVATION = Derivation(
    title="Drift along Gamma under general noise",
    sections=(Section.DRIFT,),
    assumptions=(
        "the normal modes equilibrate faster than theta moves (the critical limit lifts this)",
        "the gradient noise is normal to Gamma and independent of the point where the gradient is taken",
    ),
    steps=(
        Step(
            "dH/dtheta in the eigenbasis: lambda' on the diagonal, (lambda_x - lambda_y) turn beside it",
            _contracted(sp.Matrix([[_s_xx, _s_xy], [_s_xy, _s_yy]])),
            _slope_x * _s_xx + _slope_y * _s_yy + 2 * (_l_x - _l_y) * _turn * _s_xy,
        ),
        Step(
            "mean force = (1/2) dH : S, the third derivative contracted with the covariance",
            _mean_force,
            _contracted(sp.Matrix([[_s_xx, _s_xy], [_s_xy, _s_yy]])) / 2,
        ),
        Step(
            "drift in t = k eta^2 / delta^2: -(1/2) dH : X",
            _drift_per_step / (lr**2 / delta**2),
            _drift,
        ),
        Step(
            "gamma < 1/2: X solves H X + X H = Sigma, the operator of Li, Wang and Arora",
            _entries(_diagonal * _few + _few * _diagonal),
            _entries(_sigma),
        ),
        Step("gamma < 1/2, entry by entry: X_xy = Sigma_xy / (lambda_x + lambda_y)", _few[0, 1], _xy / (_l_x + _l_y)),
        Step("gamma > 1/2: the modes decouple, X_xy = 0", _many[0, 1]),
        Step(
            "gamma > 1/2: the drift is -(1/4) sum_i Sigma_ii (ln lambda_i)'",
            -_contracted(_many) / 2,
            -(_xx * _slope_x / _l_x + _yy * _slope_y / _l_y) / 4,
        ),
        Step(
            "so crossing gamma = 1/2 takes away the part that turns the eigenvectors",
            -_contracted(_few) / 2 + _contracted(_many) / 2,
            _off_diagonal / (_l_x + _l_y),
        ),
        Step(
            "gamma = 1/2: the share of that part which is left depends on C",
            (_drift + _contracted(_many) / 2) / (_off_diagonal / (_l_x + _l_y)),
            2 * _C**2 * (_l_x + _l_y) / ((_l_x - _l_y) ** 2 + 2 * _C**2 * (_l_x + _l_y)),
        ),
        Step(
            "label noise, Sigma = c H: the drift is -(c/4) (tr H)' for every gamma",
            _drift.subs({_xx: noise * _l_x, _yy: noise * _l_y, _xy: 0}),
            -noise / 4 * (_slope_x + _slope_y),
        ),
        Step(
            "heavy ball, any eta: label noise has the weight of one mode",
            heavy_ball_pair_weight.subs(_LABEL_NOISE).subs(eigenvalue, a / lr),
            heavy_ball_weight,
        ),
        Step(
            "Nesterov, any eta: label noise has the weight of one mode",
            nesterov_pair_weight.subs(_LABEL_NOISE).subs(eigenvalue, a / lr),
            nesterov_weight,
        ),
    ),
    formulas=(
        Formula(
            "heavy_ball_pair_drift_weight",
            ARGUMENTS,
            below_both_limits(weight(EVALUATED_HEAVY_BALL)),
            "-(d theta per step) / (dH_ij/dtheta) = (eta / (2 delta)) E x_i x_j",
            "Weight of dH_ij/dtheta in the heavy-ball drift under general noise, per step; nan if unstable.",
            Equation(Section.DRIFT, 11),
            WHERE_HEAVY_BALL,
        ),
        Formula(
            "nesterov_pair_drift_weight",
            ARGUMENTS,
            below_both_limits(weight(EVALUATED_LOOKAHEAD)),
            "-(d theta per step) / (dH_ij/dtheta) = (eta / (2 delta)) E y_i y_j, y the look-ahead point",
            "Weight of dH_ij/dtheta in the Nesterov drift under general noise, per step; nan if unstable.",
            Equation(Section.DRIFT, 12),
            WHERE_NESTEROV,
        ),
    ),
    symbols={
        "k": "number of steps",
        a: "= eta lambda of the first mode",
        _turn: "rate at which the eigenvectors turn with theta",
        _l_x: "eigenvalue of the first mode",
        _l_y: "eigenvalue of the second mode",
        _slope_x: "lambda_x', change of it with theta",
        _slope_y: "lambda_y', change of it with theta",
        _C: "= delta / sqrt(eta)",
        _xx: "noise variance of the first mode's gradient",
        _xy: "noise covariance of the two",
        _yy: "noise variance of the second mode's gradient",
        "Sigma": "covariance matrix of the gradient noise",
        "Sigma_ii": "its diagonal",
        "lambda_i": "eigenvalue of mode i",
        _s_xx: "E x^2",
        _s_xy: "E x y",
        _s_yy: "E y^2",
        "S": "covariance of the modes; dH : S is sum_ij (dH_ij/dtheta) S_ij",
        "X": "= S / (eta / delta)",
        "X_xy": "its entry off the diagonal",
        "'": "derivative by theta",
        "gamma": "exponent in delta ~ eta^gamma",
        "t": "= k eta^2 / delta^2, the clock of the drift",
        "u_0": "factor that tells one entry of a matrix from the others",
        "u_1": "factor that tells one entry of a matrix from the others",
        "u_2": "factor that tells one entry of a matrix from the others",
        "u_3": "factor that tells one entry of a matrix from the others",
    },
)
