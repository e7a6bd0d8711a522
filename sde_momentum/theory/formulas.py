"""The library's formulas as numpy code. Generated: do not edit.

Written by `python -m derivations` from `derivations/`, which proves each expression. Arguments broadcast;
every function returns a float64 array. Nothing is checked here: callers check their input at the door.
[theory: ...] names a section of docs/theory.md and an equation in it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .compensated import sum_of_products


def heavy_ball_stability_limit(one_minus_beta: ArrayLike) -> NDArray[np.float64]:
    """The a = lr * eigenvalue at and above which heavy ball is unstable. [theory: Relaxation, eq. 2.5]

        stable iff 0 < a < 2 (1 + beta)

    Args:
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]

    >>> print(f"{heavy_ball_stability_limit(0.1):.4g}")
    3.8
    """
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = 4 - 2*one_minus_beta
    return np.asarray(value, dtype=np.float64)


def heavy_ball_discriminant(
    lr: ArrayLike,
    eigenvalue: ArrayLike,
    one_minus_beta: ArrayLike,
) -> NDArray[np.float64]:
    """Negative iff the heavy-ball mode is underdamped. [theory: Relaxation, eq. 2.7]

        (1 + beta - a)^2 - 4 beta = (a - (1 - sqrt(beta))^2) (a - (1 + sqrt(beta))^2)

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        eigenvalue: lambda, eigenvalue of the Hessian on Gamma; a = eta lambda, in units of loss / parameter^2, > 0
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]

    >>> print(f"{heavy_ball_discriminant(0.1, 1.5, 0.1):.4g}")
    -0.5375
    """
    lr = np.asarray(lr, dtype=np.float64)
    eigenvalue = np.asarray(eigenvalue, dtype=np.float64)
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = sum_of_products((eigenvalue, eigenvalue, lr, lr), (2*eigenvalue, lr, one_minus_beta), (-4*eigenvalue, lr), (one_minus_beta, one_minus_beta))
    return np.asarray(value, dtype=np.float64)


def heavy_ball_relaxation_time(
    lr: ArrayLike,
    eigenvalue: ArrayLike,
    one_minus_beta: ArrayLike,
) -> NDArray[np.float64]:
    """Relaxation time of the amplitude of one heavy-ball mode, in steps; inf if unstable. [theory: Relaxation, eq. 2.3]

        tau = -1 / ln max|chi|, chi^2 - (1 + beta - a) chi + beta = 0

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        eigenvalue: lambda, eigenvalue of the Hessian on Gamma; a = eta lambda, in units of loss / parameter^2, > 0
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]

    >>> print(f"{heavy_ball_relaxation_time(0.1, 1.5, 0.1):.4g}")
    18.98
    """
    lr = np.asarray(lr, dtype=np.float64)
    eigenvalue = np.asarray(eigenvalue, dtype=np.float64)
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        a = eigenvalue*lr
        margin = sum_of_products((-eigenvalue, lr), (-2*one_minus_beta,), (4,))
        discriminant = sum_of_products((eigenvalue, eigenvalue, lr, lr), (2*eigenvalue, lr, one_minus_beta), (-4*eigenvalue, lr), (one_minus_beta, one_minus_beta))
        nearer = np.minimum(a, margin)
        root = np.sqrt(discriminant)
        gap = 2*nearer/(nearer + one_minus_beta + root)
        multiplier = (1/2)*root + (1/2)*abs(sum_of_products((-eigenvalue, lr), (-one_minus_beta,), (2,)))
        value = (
            np.where(margin <= 0, np.inf,
            np.where(discriminant < 0, -2/np.log1p(-one_minus_beta),
            np.where(multiplier >= 1/2, -1/np.log1p(-gap),
            -1/np.log(multiplier))))
        )
    return np.asarray(value, dtype=np.float64)


def nesterov_stability_limit(one_minus_beta: ArrayLike) -> NDArray[np.float64]:
    """The a = lr * eigenvalue at and above which Nesterov momentum is unstable. [theory: Relaxation, eq. 2.6]

        stable iff 0 < a < 2 (1 + beta) / (1 + 2 beta)

    Args:
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]

    >>> print(f"{nesterov_stability_limit(0.1):.4g}")
    1.357
    """
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = (4 - 2*one_minus_beta)/(3 - 2*one_minus_beta)
    return np.asarray(value, dtype=np.float64)


def nesterov_discriminant(
    lr: ArrayLike,
    eigenvalue: ArrayLike,
    one_minus_beta: ArrayLike,
) -> NDArray[np.float64]:
    """Negative iff the Nesterov mode is underdamped. [theory: Relaxation, eq. 2.8]

        (1 - a)^2 (1 + beta)^2 - 4 (1 - a) beta = (1 - a) (delta^2 - a (1 + beta)^2)

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        eigenvalue: lambda, eigenvalue of the Hessian on Gamma; a = eta lambda, in units of loss / parameter^2, > 0
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]

    >>> print(f"{nesterov_discriminant(0.1, 1.5, 0.1):.4g}")
    -0.4518
    """
    lr = np.asarray(lr, dtype=np.float64)
    eigenvalue = np.asarray(eigenvalue, dtype=np.float64)
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        contraction = sum_of_products((-eigenvalue, lr), (1,))
        window = sum_of_products((-eigenvalue, lr, one_minus_beta, one_minus_beta), (4*eigenvalue, lr, one_minus_beta), (-4*eigenvalue, lr), (one_minus_beta, one_minus_beta))
        value = contraction*window
    return np.asarray(value, dtype=np.float64)


def nesterov_relaxation_time(
    lr: ArrayLike,
    eigenvalue: ArrayLike,
    one_minus_beta: ArrayLike,
) -> NDArray[np.float64]:
    """Relaxation time of the amplitude of one Nesterov mode, in steps; inf if unstable. [theory: Relaxation, eq. 2.4]

        tau = -1 / ln max|chi|, chi^2 - (1 - a) (1 + beta) chi + (1 - a) beta = 0

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        eigenvalue: lambda, eigenvalue of the Hessian on Gamma; a = eta lambda, in units of loss / parameter^2, > 0
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]

    >>> print(f"{nesterov_relaxation_time(0.1, 1.5, 0.1):.4g}")
    7.466
    """
    lr = np.asarray(lr, dtype=np.float64)
    eigenvalue = np.asarray(eigenvalue, dtype=np.float64)
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        a = eigenvalue*lr
        margin = sum_of_products((2*eigenvalue, lr, one_minus_beta), (-3, eigenvalue, lr), (-2*one_minus_beta,), (4,))
        contraction = sum_of_products((-eigenvalue, lr), (1,))
        window = sum_of_products((-eigenvalue, lr, one_minus_beta, one_minus_beta), (4*eigenvalue, lr, one_minus_beta), (-4*eigenvalue, lr), (one_minus_beta, one_minus_beta))
        root = np.sqrt(contraction*window)
        gap = (
            np.where(a <= 1, 2*a/(a*(2 - one_minus_beta) + one_minus_beta + root),
            2*margin/(contraction*(2 - one_minus_beta) + root + 2))
        )
        multiplier = (1/2)*root + (1/2)*(2 - one_minus_beta)*abs(contraction)
        log_contraction = (
            np.where(a < 1/2, np.log1p(-a),
            np.log(contraction))
        )
        value = (
            np.where(margin <= 0, np.inf,
            np.where(contraction*window < 0, -2/(log_contraction + np.log1p(-one_minus_beta)),
            np.where(multiplier >= 1/2, -1/np.log1p(-gap),
            -1/np.log(multiplier))))
        )
    return np.asarray(value, dtype=np.float64)


def heavy_ball_stationary_variance(
    lr: ArrayLike,
    eigenvalue: ArrayLike,
    one_minus_beta: ArrayLike,
    noise: ArrayLike,
) -> NDArray[np.float64]:
    """Stationary variance of one heavy-ball mode, in squared parameter units; inf if unstable. [theory: Relaxation, eq. 2.10]

        s = eta c (1 + beta) / (delta (2 (1 + beta) - a))

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        eigenvalue: lambda, eigenvalue of the Hessian on Gamma; a = eta lambda, in units of loss / parameter^2, > 0
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]
        noise: c, label-noise strength sigma^2 / B, in units of loss, >= 0

    >>> print(f"{heavy_ball_stationary_variance(0.1, 1.5, 0.1, 0.01):.4g}")
    0.005205
    """
    lr = np.asarray(lr, dtype=np.float64)
    eigenvalue = np.asarray(eigenvalue, dtype=np.float64)
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    noise = np.asarray(noise, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        margin = sum_of_products((-eigenvalue, lr), (-2*one_minus_beta,), (4,))
        value = (
            np.where(margin <= 0, np.inf,
            lr*noise*(2 - one_minus_beta)/(margin*one_minus_beta))
        )
    return np.asarray(value, dtype=np.float64)


def nesterov_stationary_variance(
    lr: ArrayLike,
    eigenvalue: ArrayLike,
    one_minus_beta: ArrayLike,
    noise: ArrayLike,
) -> NDArray[np.float64]:
    """Stationary variance of one Nesterov mode, in squared parameter units; inf if unstable. [theory: Relaxation, eq. 2.11]

        s = eta c (1 + (1 - a) beta) / ((delta + a beta) (2 (1 + beta) - a (1 + 2 beta)))

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        eigenvalue: lambda, eigenvalue of the Hessian on Gamma; a = eta lambda, in units of loss / parameter^2, > 0
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]
        noise: c, label-noise strength sigma^2 / B, in units of loss, >= 0

    >>> print(f"{nesterov_stationary_variance(0.1, 1.5, 0.1, 0.01):.4g}")
    0.002222
    """
    lr = np.asarray(lr, dtype=np.float64)
    eigenvalue = np.asarray(eigenvalue, dtype=np.float64)
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    noise = np.asarray(noise, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        a = eigenvalue*lr
        contraction = sum_of_products((-eigenvalue, lr), (1,))
        margin = sum_of_products((2*eigenvalue, lr, one_minus_beta), (-3, eigenvalue, lr), (-2*one_minus_beta,), (4,))
        value = (
            np.where(margin <= 0, np.inf,
            lr*noise*(contraction*(1 - one_minus_beta) + 1)/(margin*(a*(1 - one_minus_beta) + one_minus_beta)))
        )
    return np.asarray(value, dtype=np.float64)


def heavy_ball_pair_covariance(
    lr: ArrayLike,
    eigenvalue: ArrayLike,
    other_eigenvalue: ArrayLike,
    one_minus_beta: ArrayLike,
    noise_covariance: ArrayLike,
) -> NDArray[np.float64]:
    """Stationary covariance of two heavy-ball modes, in squared parameter units; nan if either is unstable. [theory: Relaxation, eq. 2.12]

        E x_i x_j = q delta (1 + beta) / (beta (a - b)^2 + delta^2 ((1 + beta) (a + b) - a b)), q = eta^2 Sigma_ij

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        eigenvalue: lambda, eigenvalue of the Hessian on Gamma; a = eta lambda, in units of loss / parameter^2, > 0
        other_eigenvalue: lambda_j, eigenvalue of the other mode; b = eta lambda_j, in units of loss / parameter^2, > 0
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]
        noise_covariance: Sigma_ij, covariance of the gradient noise in two modes, in units of loss^2 / parameter^2

    >>> print(f"{heavy_ball_pair_covariance(0.1, 1.5, 0.5, 0.1, 0.5):.4g}")
    0.07466
    """
    lr = np.asarray(lr, dtype=np.float64)
    eigenvalue = np.asarray(eigenvalue, dtype=np.float64)
    other_eigenvalue = np.asarray(other_eigenvalue, dtype=np.float64)
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    noise_covariance = np.asarray(noise_covariance, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        a = eigenvalue*lr
        b = lr*other_eigenvalue
        difference = lr*(eigenvalue - other_eigenvalue)
        q = lr**2*noise_covariance
        margin = sum_of_products((-eigenvalue, lr), (-2*one_minus_beta,), (4,))
        other_margin = sum_of_products((-lr, other_eigenvalue), (-2*one_minus_beta,), (4,))
        value = (
            np.where(np.minimum(margin, other_margin) <= 0, np.nan,
            one_minus_beta*q*(2 - one_minus_beta)/(difference**2*(1 - one_minus_beta) + one_minus_beta**2*((1/2)*a*other_margin + (1/2)*b*margin)))
        )
    return np.asarray(value, dtype=np.float64)


def nesterov_pair_covariance(
    lr: ArrayLike,
    eigenvalue: ArrayLike,
    other_eigenvalue: ArrayLike,
    one_minus_beta: ArrayLike,
    noise_covariance: ArrayLike,
) -> NDArray[np.float64]:
    """Stationary covariance of two Nesterov modes, in squared parameter units; nan if either is unstable. [theory: Relaxation, eq. 2.13]

        E x_i x_j = q (1 - (1 - a) (1 - b) beta^2) / (beta^2 (a - b)^2 + (delta + a beta) (delta + b beta) ((1 + beta) (a + b) - a b (1 + 2 beta)))

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        eigenvalue: lambda, eigenvalue of the Hessian on Gamma; a = eta lambda, in units of loss / parameter^2, > 0
        other_eigenvalue: lambda_j, eigenvalue of the other mode; b = eta lambda_j, in units of loss / parameter^2, > 0
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]
        noise_covariance: Sigma_ij, covariance of the gradient noise in two modes, in units of loss^2 / parameter^2

    >>> print(f"{nesterov_pair_covariance(0.1, 1.5, 0.5, 0.1, 0.5):.4g}")
    0.08507
    """
    lr = np.asarray(lr, dtype=np.float64)
    eigenvalue = np.asarray(eigenvalue, dtype=np.float64)
    other_eigenvalue = np.asarray(other_eigenvalue, dtype=np.float64)
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    noise_covariance = np.asarray(noise_covariance, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        a = eigenvalue*lr
        b = lr*other_eigenvalue
        difference = lr*(eigenvalue - other_eigenvalue)
        q = lr**2*noise_covariance
        margin = sum_of_products((2*eigenvalue, lr, one_minus_beta), (-3, eigenvalue, lr), (-2*one_minus_beta,), (4,))
        other_margin = sum_of_products((2*lr, one_minus_beta, other_eigenvalue), (-3, lr, other_eigenvalue), (-2*one_minus_beta,), (4,))
        value = (
            np.where(np.minimum(margin, other_margin) <= 0, np.nan,
            q*(a*(1 - one_minus_beta) + b*(1 - one_minus_beta) + 2*one_minus_beta - (a*(1 - one_minus_beta) + one_minus_beta)*(b*(1 - one_minus_beta) + one_minus_beta))/(difference**2*(1 - one_minus_beta)**2 + ((1/2)*a*other_margin + (1/2)*b*margin)*(a*(1 - one_minus_beta) + one_minus_beta)*(b*(1 - one_minus_beta) + one_minus_beta)))
        )
    return np.asarray(value, dtype=np.float64)


def stationary_operator(
    eigenvalue: ArrayLike,
    other_eigenvalue: ArrayLike,
    scaled_damping: ArrayLike,
) -> NDArray[np.float64]:
    """E x_i x_j = (eta / delta) Sigma_ij times this, for small lr and 1 - beta, either update. [theory: Relaxation, eq. 2.14]

        2 C^2 / ((lambda_i - lambda_j)^2 + 2 C^2 (lambda_i + lambda_j))

    Args:
        eigenvalue: lambda, eigenvalue of the Hessian on Gamma; a = eta lambda, in units of loss / parameter^2, > 0
        other_eigenvalue: lambda_j, eigenvalue of the other mode; b = eta lambda_j, in units of loss / parameter^2, > 0
        scaled_damping: C = delta / sqrt(eta), in units of sqrt(loss) / parameter, > 0

    >>> print(f"{stationary_operator(1.5, 0.5, 0.5):.4g}")
    0.25
    """
    eigenvalue = np.asarray(eigenvalue, dtype=np.float64)
    other_eigenvalue = np.asarray(other_eigenvalue, dtype=np.float64)
    scaled_damping = np.asarray(scaled_damping, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = 2*scaled_damping**2/(2*scaled_damping**2*(eigenvalue + other_eigenvalue) + (eigenvalue - other_eigenvalue)**2)
    return np.asarray(value, dtype=np.float64)


def heavy_ball_potential(
    lr: ArrayLike,
    eigenvalue: ArrayLike,
    one_minus_beta: ArrayLike,
    noise: ArrayLike,
) -> NDArray[np.float64]:
    """Effective potential of one heavy-ball mode, per step: dw = -grad_Gamma sum V; inf if unstable. [theory: Drift, eq. 3.3]

        V = -(eta c (1 + beta) / (2 delta^2)) ln(1 - a / (2 (1 + beta)))

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        eigenvalue: lambda, eigenvalue of the Hessian on Gamma; a = eta lambda, in units of loss / parameter^2, > 0
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]
        noise: c, label-noise strength sigma^2 / B, in units of loss, >= 0

    >>> print(f"{heavy_ball_potential(0.1, 1.5, 0.1, 0.01):.4g}")
    0.003826
    """
    lr = np.asarray(lr, dtype=np.float64)
    eigenvalue = np.asarray(eigenvalue, dtype=np.float64)
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    noise = np.asarray(noise, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        a = eigenvalue*lr
        margin = sum_of_products((-eigenvalue, lr), (-2*one_minus_beta,), (4,))
        logarithm = (
            np.where(a < 2 - one_minus_beta, np.log1p(-a/(4 - 2*one_minus_beta)),
            np.log(margin/(4 - 2*one_minus_beta)))
        )
        value = (
            np.where(margin <= 0, np.inf,
            -1/2*logarithm*lr*noise*(2 - one_minus_beta)/one_minus_beta**2)
        )
    return np.asarray(value, dtype=np.float64)


def heavy_ball_drift_weight(
    lr: ArrayLike,
    eigenvalue: ArrayLike,
    one_minus_beta: ArrayLike,
    noise: ArrayLike,
) -> NDArray[np.float64]:
    """Weight of grad lambda_j in the heavy-ball drift, per step; inf if unstable. [theory: Drift, eq. 3.2]

        dV/dlambda = (eta^2 c / (4 delta^2)) / (1 - a / (2 (1 + beta)))

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        eigenvalue: lambda, eigenvalue of the Hessian on Gamma; a = eta lambda, in units of loss / parameter^2, > 0
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]
        noise: c, label-noise strength sigma^2 / B, in units of loss, >= 0

    >>> print(f"{heavy_ball_drift_weight(0.1, 1.5, 0.1, 0.01):.4g}")
    0.002603
    """
    lr = np.asarray(lr, dtype=np.float64)
    eigenvalue = np.asarray(eigenvalue, dtype=np.float64)
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    noise = np.asarray(noise, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        margin = sum_of_products((-eigenvalue, lr), (-2*one_minus_beta,), (4,))
        value = (
            np.where(margin <= 0, np.inf,
            (1/2)*lr**2*noise*(2 - one_minus_beta)/(margin*one_minus_beta**2))
        )
    return np.asarray(value, dtype=np.float64)


def nesterov_potential(
    lr: ArrayLike,
    eigenvalue: ArrayLike,
    one_minus_beta: ArrayLike,
    noise: ArrayLike,
) -> NDArray[np.float64]:
    """Effective potential of one Nesterov mode, per step: dw = -grad_Gamma sum V; inf if unstable. [theory: Drift, eq. 3.5]

        V = (eta c / (2 delta (1 + 3 beta))) (2 beta^2 ln(1 + a beta / delta) - (1 + beta) (1 + 2 beta) ln(1 - a (1 + 2 beta) / (2 (1 + beta))))

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        eigenvalue: lambda, eigenvalue of the Hessian on Gamma; a = eta lambda, in units of loss / parameter^2, > 0
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]
        noise: c, label-noise strength sigma^2 / B, in units of loss, >= 0

    >>> print(f"{nesterov_potential(0.1, 1.5, 0.1, 0.01):.4g}")
    0.002713
    """
    lr = np.asarray(lr, dtype=np.float64)
    eigenvalue = np.asarray(eigenvalue, dtype=np.float64)
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    noise = np.asarray(noise, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        a = eigenvalue*lr
        margin = sum_of_products((2*eigenvalue, lr, one_minus_beta), (-3, eigenvalue, lr), (-2*one_minus_beta,), (4,))
        logarithm = (
            np.where(a < (1/2)*(4 - 2*one_minus_beta)/(3 - 2*one_minus_beta), np.log1p(-a*(3 - 2*one_minus_beta)/(4 - 2*one_minus_beta)),
            np.log(margin/(4 - 2*one_minus_beta)))
        )
        value = (
            np.where(margin <= 0, np.inf,
            (1/2)*lr*noise*(-logarithm*(2 - one_minus_beta)*(3 - 2*one_minus_beta) + 2*(1 - one_minus_beta)**2*np.log1p(a*(1 - one_minus_beta)/one_minus_beta))/(one_minus_beta*(4 - 3*one_minus_beta)))
        )
    return np.asarray(value, dtype=np.float64)


def nesterov_drift_weight(
    lr: ArrayLike,
    eigenvalue: ArrayLike,
    one_minus_beta: ArrayLike,
    noise: ArrayLike,
) -> NDArray[np.float64]:
    """Weight of grad lambda_j in the Nesterov drift, per step; inf if unstable. [theory: Drift, eq. 3.4]

        dV/dlambda = eta^2 c (1 + beta + a beta (1 + 2 beta)) / (2 delta (delta + a beta) (2 (1 + beta) - a (1 + 2 beta)))

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        eigenvalue: lambda, eigenvalue of the Hessian on Gamma; a = eta lambda, in units of loss / parameter^2, > 0
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]
        noise: c, label-noise strength sigma^2 / B, in units of loss, >= 0

    >>> print(f"{nesterov_drift_weight(0.1, 1.5, 0.1, 0.01):.4g}")
    0.001434
    """
    lr = np.asarray(lr, dtype=np.float64)
    eigenvalue = np.asarray(eigenvalue, dtype=np.float64)
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    noise = np.asarray(noise, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        a = eigenvalue*lr
        margin = sum_of_products((2*eigenvalue, lr, one_minus_beta), (-3, eigenvalue, lr), (-2*one_minus_beta,), (4,))
        value = (
            np.where(margin <= 0, np.inf,
            (1/2)*lr**2*noise*(a*(1 - one_minus_beta)*(3 - 2*one_minus_beta) - one_minus_beta + 2)/(margin*one_minus_beta*(a*(1 - one_minus_beta) + one_minus_beta)))
        )
    return np.asarray(value, dtype=np.float64)


def small_lr_drift_weight(
    lr: ArrayLike,
    one_minus_beta: ArrayLike,
    noise: ArrayLike,
) -> NDArray[np.float64]:
    """Weight of grad tr H in the drift at small lr (a much below delta), per step. [theory: Drift, eq. 3.6]

        dV/dlambda = eta^2 c / (4 delta^2)

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]
        noise: c, label-noise strength sigma^2 / B, in units of loss, >= 0

    >>> print(f"{small_lr_drift_weight(0.1, 0.1, 0.01):.4g}")
    0.0025
    """
    lr = np.asarray(lr, dtype=np.float64)
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    noise = np.asarray(noise, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = (1/4)*lr**2*noise/one_minus_beta**2
    return np.asarray(value, dtype=np.float64)


def longitudinal_time(
    lr: ArrayLike,
    one_minus_beta: ArrayLike,
    noise: ArrayLike,
    curvature: ArrayLike,
) -> NDArray[np.float64]:
    """Relaxation time along Gamma at small lr, in steps. [theory: Drift, eq. 3.8]

        tau_par = 4 delta^2 / (eta^2 c mu)

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]
        noise: c, label-noise strength sigma^2 / B, in units of loss, >= 0
        curvature: mu, curvature of tr H along Gamma at the flattest point (m for one direction), in units of loss / parameter^4, >= 0

    >>> print(f"{longitudinal_time(0.1, 0.1, 0.01, 0.5):.4g}")
    800
    """
    lr = np.asarray(lr, dtype=np.float64)
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    noise = np.asarray(noise, dtype=np.float64)
    curvature = np.asarray(curvature, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = 4*one_minus_beta**2/(curvature*lr**2*noise)
    return np.asarray(value, dtype=np.float64)


def heavy_ball_pair_drift_weight(
    lr: ArrayLike,
    eigenvalue: ArrayLike,
    other_eigenvalue: ArrayLike,
    one_minus_beta: ArrayLike,
    noise_covariance: ArrayLike,
) -> NDArray[np.float64]:
    """Weight of dH_ij/dtheta in the heavy-ball drift under general noise, per step; nan if unstable. [theory: Drift, eq. 3.11]

        -(d theta per step) / (dH_ij/dtheta) = (eta / (2 delta)) E x_i x_j

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        eigenvalue: lambda, eigenvalue of the Hessian on Gamma; a = eta lambda, in units of loss / parameter^2, > 0
        other_eigenvalue: lambda_j, eigenvalue of the other mode; b = eta lambda_j, in units of loss / parameter^2, > 0
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]
        noise_covariance: Sigma_ij, covariance of the gradient noise in two modes, in units of loss^2 / parameter^2

    >>> print(f"{heavy_ball_pair_drift_weight(0.1, 1.5, 0.5, 0.1, 0.5):.4g}")
    0.03733
    """
    lr = np.asarray(lr, dtype=np.float64)
    eigenvalue = np.asarray(eigenvalue, dtype=np.float64)
    other_eigenvalue = np.asarray(other_eigenvalue, dtype=np.float64)
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    noise_covariance = np.asarray(noise_covariance, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        a = eigenvalue*lr
        b = lr*other_eigenvalue
        difference = lr*(eigenvalue - other_eigenvalue)
        q = lr**2*noise_covariance
        margin = sum_of_products((-eigenvalue, lr), (-2*one_minus_beta,), (4,))
        other_margin = sum_of_products((-lr, other_eigenvalue), (-2*one_minus_beta,), (4,))
        value = (
            np.where(np.minimum(margin, other_margin) <= 0, np.nan,
            (1/2)*lr*q*(2 - one_minus_beta)/(difference**2*(1 - one_minus_beta) + one_minus_beta**2*((1/2)*a*other_margin + (1/2)*b*margin)))
        )
    return np.asarray(value, dtype=np.float64)


def nesterov_pair_drift_weight(
    lr: ArrayLike,
    eigenvalue: ArrayLike,
    other_eigenvalue: ArrayLike,
    one_minus_beta: ArrayLike,
    noise_covariance: ArrayLike,
) -> NDArray[np.float64]:
    """Weight of dH_ij/dtheta in the Nesterov drift under general noise, per step; nan if unstable. [theory: Drift, eq. 3.12]

        -(d theta per step) / (dH_ij/dtheta) = (eta / (2 delta)) E y_i y_j, y the look-ahead point

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        eigenvalue: lambda, eigenvalue of the Hessian on Gamma; a = eta lambda, in units of loss / parameter^2, > 0
        other_eigenvalue: lambda_j, eigenvalue of the other mode; b = eta lambda_j, in units of loss / parameter^2, > 0
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]
        noise_covariance: Sigma_ij, covariance of the gradient noise in two modes, in units of loss^2 / parameter^2

    >>> print(f"{nesterov_pair_drift_weight(0.1, 1.5, 0.5, 0.1, 0.5):.4g}")
    0.04958
    """
    lr = np.asarray(lr, dtype=np.float64)
    eigenvalue = np.asarray(eigenvalue, dtype=np.float64)
    other_eigenvalue = np.asarray(other_eigenvalue, dtype=np.float64)
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    noise_covariance = np.asarray(noise_covariance, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        a = eigenvalue*lr
        b = lr*other_eigenvalue
        difference = lr*(eigenvalue - other_eigenvalue)
        q = lr**2*noise_covariance
        margin = sum_of_products((2*eigenvalue, lr, one_minus_beta), (-3, eigenvalue, lr), (-2*one_minus_beta,), (4,))
        other_margin = sum_of_products((2*lr, one_minus_beta, other_eigenvalue), (-3, lr, other_eigenvalue), (-2*one_minus_beta,), (4,))
        value = (
            np.where(np.minimum(margin, other_margin) <= 0, np.nan,
            (1/2)*lr*q*((1 - one_minus_beta)**2*(a*(1 - one_minus_beta) + b*(1 - one_minus_beta) + 2*one_minus_beta - (a*(1 - one_minus_beta) + one_minus_beta)*(b*(1 - one_minus_beta) + one_minus_beta)) + (2 - one_minus_beta)**2*(a*(1 - one_minus_beta) + one_minus_beta)*(b*(1 - one_minus_beta) + one_minus_beta))/(one_minus_beta*(difference**2*(1 - one_minus_beta)**2 + ((1/2)*a*other_margin + (1/2)*b*margin)*(a*(1 - one_minus_beta) + one_minus_beta)*(b*(1 - one_minus_beta) + one_minus_beta))))
        )
    return np.asarray(value, dtype=np.float64)


def energy_share_after(
    energy_share: ArrayLike,
    relaxation_time: ArrayLike,
    eigenvalue_growth: ArrayLike,
    n_steps: ArrayLike,
) -> NDArray[np.float64]:
    """Share of a mode's stationary variance after n_steps at constant r and rho. [theory: Effective loss, eq. 5.2]

        db/dk = r (1 - b) - (rho / 2) b, r = 2 / tau_perp, rho = d ln lambda / dk

    Args:
        energy_share: b, share of a mode's stationary variance that is there, >= 0
        relaxation_time: tau_perp, relaxation time of a normal mode's amplitude, in steps, > 0 (inf: never)
        eigenvalue_growth: rho = d ln lambda / dk, growth of an underdamped mode's eigenvalue (0 if overdamped), per step
        n_steps: k, number of steps, >= 0

    >>> print(f"{energy_share_after(0.5, 0.5, 0.5, 100):.4g}")
    0.9412
    """
    energy_share = np.asarray(energy_share, dtype=np.float64)
    relaxation_time = np.asarray(relaxation_time, dtype=np.float64)
    eigenvalue_growth = np.asarray(eigenvalue_growth, dtype=np.float64)
    n_steps = np.asarray(n_steps, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = (
            np.where((1/2)*eigenvalue_growth + 2/relaxation_time == 0, energy_share + 2*n_steps/relaxation_time,
            energy_share*np.exp(n_steps*(-1/2*eigenvalue_growth - 2/relaxation_time)) - 2*np.expm1(n_steps*(-1/2*eigenvalue_growth - 2/relaxation_time))/(relaxation_time*((1/2)*eigenvalue_growth + 2/relaxation_time)))
        )
    return np.asarray(value, dtype=np.float64)


def critical_exponent(noise_power: ArrayLike) -> NDArray[np.float64]:
    """The gamma in 1 - beta ~ lr^gamma at which training is fastest, for noise of strength c ~ lr^p; p < 1. [theory: Crossing, eq. 4.4]

        gamma = max(1/2, (2 + p) / 3)

    Args:
        noise_power: p, exponent in c ~ lr^p, 0 for label noise of fixed strength

    >>> print(f"{critical_exponent(0.5):.4g}")
    0.8333
    """
    noise_power = np.asarray(noise_power, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = np.maximum(1/2, (1/3)*noise_power + 2/3)
    return np.asarray(value, dtype=np.float64)


def longitudinal_stiffness(
    lr: ArrayLike,
    one_minus_beta: ArrayLike,
    noise: ArrayLike,
    curvature: ArrayLike,
    explicit_curvature: ArrayLike,
) -> NDArray[np.float64]:
    """Stiffness along Gamma in theta'' + delta theta' + k theta = 0, per step squared. [theory: Forces, eq. 6.1]

        k(delta) = eta h + eta^2 c mu / (4 delta)

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]
        noise: c, label-noise strength sigma^2 / B, in units of loss, >= 0
        curvature: mu, curvature of tr H along Gamma at the flattest point (m for one direction), in units of loss / parameter^4, >= 0
        explicit_curvature: h, curvature along Gamma of an explicit force such as weight decay, in units of loss / parameter^2, >= 0

    >>> print(f"{longitudinal_stiffness(0.1, 0.1, 0.01, 0.5, 0.5):.4g}")
    0.05013
    """
    lr = np.asarray(lr, dtype=np.float64)
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    noise = np.asarray(noise, dtype=np.float64)
    curvature = np.asarray(curvature, dtype=np.float64)
    explicit_curvature = np.asarray(explicit_curvature, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = (1/4)*curvature*lr**2*noise/one_minus_beta + explicit_curvature*lr
    return np.asarray(value, dtype=np.float64)


def damping_ratio(target: ArrayLike) -> NDArray[np.float64]:
    """The damping ratio whose overshoot is just the target fraction x. [theory: Effective loss, eq. 5.6]

        zeta(x) = |ln x| / sqrt(pi^2 + ln^2 x)

    Args:
        target: x, target: the displacement stays below this fraction of its start, in (0, 1)

    >>> print(f"{damping_ratio(0.5):.4g}")
    0.2155
    """
    target = np.asarray(target, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = -np.log(target)/np.sqrt(np.log(target)**2 + np.pi**2)
    return np.asarray(value, dtype=np.float64)


def label_noise_one_minus_beta(
    lr: ArrayLike,
    noise: ArrayLike,
    curvature: ArrayLike,
    damping_ratio: ArrayLike,
) -> NDArray[np.float64]:
    """The best 1 - beta under label noise alone. [theory: Effective loss, eq. 5.5]

        1 - beta* = (c mu zeta^2)^(1/3) eta^(2/3)

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        noise: c, label-noise strength sigma^2 / B, in units of loss, >= 0
        curvature: mu, curvature of tr H along Gamma at the flattest point (m for one direction), in units of loss / parameter^4, >= 0
        damping_ratio: zeta, damping ratio along Gamma, 1 for critical damping, > 0

    >>> print(f"{label_noise_one_minus_beta(0.1, 0.01, 0.5, 0.5):.4g}")
    0.02321
    """
    lr = np.asarray(lr, dtype=np.float64)
    noise = np.asarray(noise, dtype=np.float64)
    curvature = np.asarray(curvature, dtype=np.float64)
    damping_ratio = np.asarray(damping_ratio, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = curvature**(1/3)*damping_ratio**(2/3)*lr**(2/3)*noise**(1/3)
    return np.asarray(value, dtype=np.float64)


def critical_one_minus_beta(
    lr: ArrayLike,
    noise: ArrayLike,
    curvature: ArrayLike,
    explicit_curvature: ArrayLike,
    damping_ratio: ArrayLike,
) -> NDArray[np.float64]:
    """The best 1 - beta under label noise and an explicit force; 0 when both vanish. [theory: Forces, eq. 6.2]

        delta^2 = 4 zeta^2 k(delta), that is delta^3 = 4 zeta^2 eta h delta + zeta^2 eta^2 c mu

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        noise: c, label-noise strength sigma^2 / B, in units of loss, >= 0
        curvature: mu, curvature of tr H along Gamma at the flattest point (m for one direction), in units of loss / parameter^4, >= 0
        explicit_curvature: h, curvature along Gamma of an explicit force such as weight decay, in units of loss / parameter^2, >= 0
        damping_ratio: zeta, damping ratio along Gamma, 1 for critical damping, > 0

    >>> print(f"{critical_one_minus_beta(0.1, 0.01, 0.5, 0.5, 0.5):.4g}")
    0.2237
    """
    lr = np.asarray(lr, dtype=np.float64)
    noise = np.asarray(noise, dtype=np.float64)
    curvature = np.asarray(curvature, dtype=np.float64)
    explicit_curvature = np.asarray(explicit_curvature, dtype=np.float64)
    damping_ratio = np.asarray(damping_ratio, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        p = 4*damping_ratio**2*explicit_curvature*lr
        q = curvature*damping_ratio**2*lr**2*noise
        r = (3/2)*np.sqrt(3)*q/p**(3/2)
        u = (1/2)*2**(2/3)*q**(1/3)*(np.sqrt(1 - 1/r**2) + 1)**(1/3)
        value = (
            np.where(p + q <= 0, 0,
            np.where(r >= 1, (1/3)*p/u + u,
            (2/3)*np.sqrt(3)*np.sqrt(p)*np.cos((1/3)*np.arccos(r))))
        )
    return np.asarray(value, dtype=np.float64)


def critical_lr(
    one_minus_beta: ArrayLike,
    noise: ArrayLike,
    curvature: ArrayLike,
    explicit_curvature: ArrayLike,
    damping_ratio: ArrayLike,
) -> NDArray[np.float64]:
    """The lr at which `critical_one_minus_beta` is the given one. [theory: Forces, eq. 6.3]

        eta = delta^2 / (2 zeta^2 h + sqrt(4 zeta^4 h^2 + zeta^2 c mu delta))

    Args:
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]
        noise: c, label-noise strength sigma^2 / B, in units of loss, >= 0
        curvature: mu, curvature of tr H along Gamma at the flattest point (m for one direction), in units of loss / parameter^4, >= 0
        explicit_curvature: h, curvature along Gamma of an explicit force such as weight decay, in units of loss / parameter^2, >= 0
        damping_ratio: zeta, damping ratio along Gamma, 1 for critical damping, > 0

    >>> print(f"{critical_lr(0.1, 0.01, 0.5, 0.5, 0.5):.4g}")
    0.01999
    """
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    noise = np.asarray(noise, dtype=np.float64)
    curvature = np.asarray(curvature, dtype=np.float64)
    explicit_curvature = np.asarray(explicit_curvature, dtype=np.float64)
    damping_ratio = np.asarray(damping_ratio, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = one_minus_beta**2/(2*damping_ratio**2*explicit_curvature + np.sqrt(curvature*damping_ratio**2*noise*one_minus_beta + 4*damping_ratio**4*explicit_curvature**2))
    return np.asarray(value, dtype=np.float64)


def power_law_one_minus_beta(
    lr: ArrayLike,
    reference_lr: ArrayLike,
    reference_one_minus_beta: ArrayLike,
    exponent: ArrayLike,
) -> NDArray[np.float64]:
    """The 1 - beta transferred from a tuned pair; gamma = 2/3 in theory. [theory: Ways to predict, eq. 11.1]

        1 - beta = (1 - beta0) (eta / eta0)^gamma

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        reference_lr: eta0, learning rate of a tuned pair, in units of parameter^2 / loss, > 0
        reference_one_minus_beta: delta0 = 1 - beta0 of a tuned pair, in (0, 1]
        exponent: gamma, exponent in 1 - beta ~ lr^gamma, > 0

    >>> print(f"{power_law_one_minus_beta(0.1, 0.5, 0.5, 0.5):.4g}")
    0.2236
    """
    lr = np.asarray(lr, dtype=np.float64)
    reference_lr = np.asarray(reference_lr, dtype=np.float64)
    reference_one_minus_beta = np.asarray(reference_one_minus_beta, dtype=np.float64)
    exponent = np.asarray(exponent, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = reference_one_minus_beta*(lr/reference_lr)**exponent
    return np.asarray(value, dtype=np.float64)


def power_law_lr(
    one_minus_beta: ArrayLike,
    reference_lr: ArrayLike,
    reference_one_minus_beta: ArrayLike,
    exponent: ArrayLike,
) -> NDArray[np.float64]:
    """The lr at which `power_law_one_minus_beta` is the given one. [theory: Ways to predict, eq. 11.2]

        eta = eta0 ((1 - beta) / (1 - beta0))^(1 / gamma)

    Args:
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]
        reference_lr: eta0, learning rate of a tuned pair, in units of parameter^2 / loss, > 0
        reference_one_minus_beta: delta0 = 1 - beta0 of a tuned pair, in (0, 1]
        exponent: gamma, exponent in 1 - beta ~ lr^gamma, > 0

    >>> print(f"{power_law_lr(0.1, 0.5, 0.5, 0.5):.4g}")
    0.02
    """
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    reference_lr = np.asarray(reference_lr, dtype=np.float64)
    reference_one_minus_beta = np.asarray(reference_one_minus_beta, dtype=np.float64)
    exponent = np.asarray(exponent, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = reference_lr*(one_minus_beta/reference_one_minus_beta)**(exponent**(-1.0))
    return np.asarray(value, dtype=np.float64)


def discrete_critical_one_minus_beta(
    lr: ArrayLike,
    noise: ArrayLike,
    curvature: ArrayLike,
    explicit_curvature: ArrayLike,
) -> NDArray[np.float64]:
    """The 1 - beta that damps the discrete update along Gamma critically; 1 where even plain SGD overshoots. [theory: Finite learning rate, eq. 8.1]

        (1 - sqrt(beta))^2 = k(delta); with delta0 = (c mu)^(1/3) eta^(2/3): delta0 (1 - delta0 / 6 + ...)

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        noise: c, label-noise strength sigma^2 / B, in units of loss, >= 0
        curvature: mu, curvature of tr H along Gamma at the flattest point (m for one direction), in units of loss / parameter^4, >= 0
        explicit_curvature: h, curvature along Gamma of an explicit force such as weight decay, in units of loss / parameter^2, >= 0

    >>> print(f"{discrete_critical_one_minus_beta(0.1, 0.01, 0.5, 0.5):.4g}")
    0.3973
    """
    lr = np.asarray(lr, dtype=np.float64)
    noise = np.asarray(noise, dtype=np.float64)
    curvature = np.asarray(curvature, dtype=np.float64)
    explicit_curvature = np.asarray(explicit_curvature, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        p = 4*explicit_curvature*lr
        q = curvature*lr**2*noise
        r = (3/2)*np.sqrt(3)*q/p**(3/2)
        u = (1/2)*2**(2/3)*q**(1/3)*(np.sqrt(1 - 1/r**2) + 1)**(1/3)
        s_0 = (
            (1/2)*np.where(p + q <= 0, 0,
            np.where(r >= 1, (1/3)*p/u + u,
            (2/3)*np.sqrt(3)*np.sqrt(p)*np.cos((1/3)*np.arccos(r))))
        )
        s_1 = s_0 - ((1/4)*p*s_0**2 - 1/2*p*s_0 - 1/4*q - s_0**4 + 2*s_0**3)/((1/2)*p*s_0 - 1/2*p - 4*s_0**3 + 6*s_0**2)
        s_2 = s_1 - ((1/4)*p*s_1**2 - 1/2*p*s_1 - 1/4*q - s_1**4 + 2*s_1**3)/((1/2)*p*s_1 - 1/2*p - 4*s_1**3 + 6*s_1**2)
        s_3 = s_2 - ((1/4)*p*s_2**2 - 1/2*p*s_2 - 1/4*q - s_2**4 + 2*s_2**3)/((1/2)*p*s_2 - 1/2*p - 4*s_2**3 + 6*s_2**2)
        s_4 = s_3 - ((1/4)*p*s_3**2 - 1/2*p*s_3 - 1/4*q - s_3**4 + 2*s_3**3)/((1/2)*p*s_3 - 1/2*p - 4*s_3**3 + 6*s_3**2)
        s_5 = s_4 - ((1/4)*p*s_4**2 - 1/2*p*s_4 - 1/4*q - s_4**4 + 2*s_4**3)/((1/2)*p*s_4 - 1/2*p - 4*s_4**3 + 6*s_4**2)
        s_6 = s_5 - ((1/4)*p*s_5**2 - 1/2*p*s_5 - 1/4*q - s_5**4 + 2*s_5**3)/((1/2)*p*s_5 - 1/2*p - 4*s_5**3 + 6*s_5**2)
        value = (
            np.where(p + q <= 0, 0,
            np.where(p + q >= 4, 1,
            -s_6**2 + 2*s_6))
        )
    return np.asarray(value, dtype=np.float64)


def discrete_critical_lr(
    one_minus_beta: ArrayLike,
    noise: ArrayLike,
    curvature: ArrayLike,
    explicit_curvature: ArrayLike,
) -> NDArray[np.float64]:
    """The lr at which `discrete_critical_one_minus_beta` is the given one. [theory: Finite learning rate, eq. 8.2]

        eta = 2 K / (h + sqrt(h^2 + c mu K / delta)), K = (1 - sqrt(beta))^2

    Args:
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]
        noise: c, label-noise strength sigma^2 / B, in units of loss, >= 0
        curvature: mu, curvature of tr H along Gamma at the flattest point (m for one direction), in units of loss / parameter^4, >= 0
        explicit_curvature: h, curvature along Gamma of an explicit force such as weight decay, in units of loss / parameter^2, >= 0

    >>> print(f"{discrete_critical_lr(0.1, 0.01, 0.5, 0.5):.4g}")
    0.005266
    """
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    noise = np.asarray(noise, dtype=np.float64)
    curvature = np.asarray(curvature, dtype=np.float64)
    explicit_curvature = np.asarray(explicit_curvature, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = 2*one_minus_beta**2/((explicit_curvature + np.sqrt(curvature*noise*one_minus_beta/(np.sqrt(1 - one_minus_beta) + 1)**2 + explicit_curvature**2))*(np.sqrt(1 - one_minus_beta) + 1)**2)
    return np.asarray(value, dtype=np.float64)


def finite_lr_curvature(
    lr: ArrayLike,
    one_minus_beta: ArrayLike,
    curvature: ArrayLike,
    square_curvature: ArrayLike,
) -> NDArray[np.float64]:
    """Curvature along Gamma of the drift's potential V at its flattest point, in place of mu, to first order in lr. [theory: Finite learning rate, eq. 8.3]

        mu + eta nu / (4 (1 + beta))

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]
        curvature: mu, curvature of tr H along Gamma at the flattest point (m for one direction), in units of loss / parameter^4, >= 0
        square_curvature: nu = (tr H^2)'' - (tr H)''' (tr H^2)' / mu along Gamma at the flattest point, in units of loss^2 / parameter^6

    >>> print(f"{finite_lr_curvature(0.1, 0.1, 0.5, 0.5):.4g}")
    0.5066
    """
    lr = np.asarray(lr, dtype=np.float64)
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    curvature = np.asarray(curvature, dtype=np.float64)
    square_curvature = np.asarray(square_curvature, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = curvature + lr*square_curvature/(8 - 4*one_minus_beta)
    return np.asarray(value, dtype=np.float64)


def heavy_ball_parameter_noise_drift_weight(
    lr: ArrayLike,
    eigenvalue: ArrayLike,
    one_minus_beta: ArrayLike,
    parameter_noise: ArrayLike,
) -> NDArray[np.float64]:
    """Weight of grad lambda_j in the heavy-ball drift under parameter noise, per step; inf if unstable. [theory: Forces, eq. 6.6]

        dV/dlambda = (eta s^2 / (2 delta)) (1 + a (1 + beta) / (delta (2 (1 + beta) - a)))

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        eigenvalue: lambda, eigenvalue of the Hessian on Gamma; a = eta lambda, in units of loss / parameter^2, > 0
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]
        parameter_noise: s^2, variance of the noise in each parameter where the gradient is taken, in units of parameter^2, >= 0

    >>> print(f"{heavy_ball_parameter_noise_drift_weight(0.1, 1.5, 0.1, 0.5):.4g}")
    0.4452
    """
    lr = np.asarray(lr, dtype=np.float64)
    eigenvalue = np.asarray(eigenvalue, dtype=np.float64)
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    parameter_noise = np.asarray(parameter_noise, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        a = eigenvalue*lr
        margin = sum_of_products((-eigenvalue, lr), (-2*one_minus_beta,), (4,))
        value = (
            np.where(margin <= 0, np.inf,
            (1/2)*lr*parameter_noise*(a*(2 - one_minus_beta)/(margin*one_minus_beta) + 1)/one_minus_beta)
        )
    return np.asarray(value, dtype=np.float64)


def nesterov_parameter_noise_drift_weight(
    lr: ArrayLike,
    eigenvalue: ArrayLike,
    one_minus_beta: ArrayLike,
    parameter_noise: ArrayLike,
) -> NDArray[np.float64]:
    """Weight of grad lambda_j in the Nesterov drift under parameter noise, per step; inf if unstable. [theory: Forces, eq. 6.7]

        dV/dlambda = (eta s^2 / (2 delta)) (1 + a (1 + beta + a beta (1 + 2 beta)) / ((delta + a beta) (2 (1 + beta) - a (1 + 2 beta))))

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        eigenvalue: lambda, eigenvalue of the Hessian on Gamma; a = eta lambda, in units of loss / parameter^2, > 0
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]
        parameter_noise: s^2, variance of the noise in each parameter where the gradient is taken, in units of parameter^2, >= 0

    >>> print(f"{nesterov_parameter_noise_drift_weight(0.1, 1.5, 0.1, 0.5):.4g}")
    0.3575
    """
    lr = np.asarray(lr, dtype=np.float64)
    eigenvalue = np.asarray(eigenvalue, dtype=np.float64)
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    parameter_noise = np.asarray(parameter_noise, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        a = eigenvalue*lr
        margin = sum_of_products((2*eigenvalue, lr, one_minus_beta), (-3, eigenvalue, lr), (-2*one_minus_beta,), (4,))
        value = (
            np.where(margin <= 0, np.inf,
            (1/2)*lr*parameter_noise*(a*(a*(1 - one_minus_beta)*(3 - 2*one_minus_beta) - one_minus_beta + 2)/(margin*(a*(1 - one_minus_beta) + one_minus_beta)) + 1)/one_minus_beta)
        )
    return np.asarray(value, dtype=np.float64)


def local_sgd_share(
    one_minus_beta: ArrayLike,
    n_workers: ArrayLike,
    local_steps: ArrayLike,
) -> NDArray[np.float64]:
    """Share of one worker's label-noise drift that local SGD keeps; positions and velocities are averaged. [theory: Forces, eq. 6.8]

        (1 + (K - 1) psi) / K, psi = 1 - (1 - beta^H) / (H delta)

    Args:
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]
        n_workers: K, number of workers of local SGD, >= 1
        local_steps: H, steps of local SGD between two averages, >= 1

    >>> print(f"{local_sgd_share(0.1, 4, 10):.4g}")
    0.5115
    """
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    n_workers = np.asarray(n_workers, dtype=np.float64)
    local_steps = np.asarray(local_steps, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = ((1 + np.expm1(local_steps*np.log1p(-one_minus_beta))/(local_steps*one_minus_beta))*(n_workers - 1) + 1)/n_workers
    return np.asarray(value, dtype=np.float64)


def scaled_noise_one_minus_beta(
    lr: ArrayLike,
    noise: ArrayLike,
    curvature: ArrayLike,
    damping_ratio: ArrayLike,
    noise_power: ArrayLike,
    reference_lr: ArrayLike,
    eigenvalue: ArrayLike,
) -> NDArray[np.float64]:
    """The best 1 - beta under noise c (eta / eta0)^p; the second is best where the first overdamps the normal modes. [theory: Forces, eq. 6.9]

        min((c mu zeta^2 (eta / eta0)^p)^(1/3) eta^(2/3), 2 sqrt(a) - a), a = eta lambda of the slowest normal mode

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        noise: c, label-noise strength sigma^2 / B, in units of loss, >= 0
        curvature: mu, curvature of tr H along Gamma at the flattest point (m for one direction), in units of loss / parameter^4, >= 0
        damping_ratio: zeta, damping ratio along Gamma, 1 for critical damping, > 0
        noise_power: p, exponent in c ~ lr^p, 0 for label noise of fixed strength
        reference_lr: eta0, learning rate of a tuned pair, in units of parameter^2 / loss, > 0
        eigenvalue: lambda, eigenvalue of the Hessian on Gamma; a = eta lambda, in units of loss / parameter^2, > 0

    >>> print(f"{scaled_noise_one_minus_beta(0.1, 0.01, 0.5, 0.5, 0.5, 0.5, 1.5):.4g}")
    0.01775
    """
    lr = np.asarray(lr, dtype=np.float64)
    noise = np.asarray(noise, dtype=np.float64)
    curvature = np.asarray(curvature, dtype=np.float64)
    damping_ratio = np.asarray(damping_ratio, dtype=np.float64)
    noise_power = np.asarray(noise_power, dtype=np.float64)
    reference_lr = np.asarray(reference_lr, dtype=np.float64)
    eigenvalue = np.asarray(eigenvalue, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        a = eigenvalue*lr
        value = (
            np.minimum(np.where(a < 1, np.sqrt(a)*(2 - np.sqrt(a)),
            1), curvature**(1/3)*damping_ratio**(2/3)*lr**(2/3)*noise**(1/3)*(lr/reference_lr)**((1/3)*noise_power))
        )
    return np.asarray(value, dtype=np.float64)


def scheduled_energy_share(
    one_minus_beta: ArrayLike,
    decay_rate: ArrayLike,
    exponent: ArrayLike,
) -> NDArray[np.float64]:
    """Energy of the normal modes, relative to the stationary one, while lr falls as exp(-r k); inf: they cannot follow. [theory: Forces, eq. 6.15]

        b = delta / (delta - (3/2 - gamma) r), itself to first order in r / delta

    Args:
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]
        decay_rate: r = -d ln eta / dk, decay of a learning-rate schedule, per step
        exponent: gamma, exponent in 1 - beta ~ lr^gamma, > 0

    >>> print(f"{scheduled_energy_share(0.1, 0.01, 0.5):.4g}")
    1.111
    """
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    decay_rate = np.asarray(decay_rate, dtype=np.float64)
    exponent = np.asarray(exponent, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = (
            np.where(one_minus_beta > decay_rate*(3/2 - exponent), one_minus_beta/(-decay_rate*(3/2 - exponent) + one_minus_beta),
            np.inf)
        )
    return np.asarray(value, dtype=np.float64)


def minibatch_noise(
    squared_residual: ArrayLike,
    n_outputs: ArrayLike,
    batch_size: ArrayLike,
) -> NDArray[np.float64]:
    """Strength of the sampling noise, without replacement, of residuals of mean square r^2: Sigma = c H. [theory: Forces, eq. 6.11]

        c = r^2 (P - B) / (B (P - 1))

    Args:
        squared_residual: r^2, mean square of the residuals, in units of loss, >= 0
        n_outputs: P, number of outputs on the training set, > 1
        batch_size: B, samples in a batch, from 1 to P

    >>> print(f"{minibatch_noise(0.01, 40, 8):.4g}")
    0.001026
    """
    squared_residual = np.asarray(squared_residual, dtype=np.float64)
    n_outputs = np.asarray(n_outputs, dtype=np.float64)
    batch_size = np.asarray(batch_size, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = squared_residual*(-batch_size + n_outputs)/(batch_size*(n_outputs - 1))
    return np.asarray(value, dtype=np.float64)


def critical_kappa(
    lr: ArrayLike,
    one_minus_beta: ArrayLike,
    noise: ArrayLike,
) -> NDArray[np.float64]:
    """Strength of the energies' force in the reduced SDE, in units of 1 / curvature. [theory: Critical limit, eq. 7.1]

        kappa = eta^2 c / (4 delta^3)

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]
        noise: c, label-noise strength sigma^2 / B, in units of loss, >= 0

    >>> print(f"{critical_kappa(0.1, 0.1, 0.01):.4g}")
    0.025
    """
    lr = np.asarray(lr, dtype=np.float64)
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    noise = np.asarray(noise, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = (1/4)*lr**2*noise/one_minus_beta**3
    return np.asarray(value, dtype=np.float64)


def one_minus_beta_at_kappa(
    lr: ArrayLike,
    noise: ArrayLike,
    kappa: ArrayLike,
) -> NDArray[np.float64]:
    """The 1 - beta at which `critical_kappa` is the given one; at lr = 1 it is the prefactor C. [theory: Critical limit, eq. 7.2]

        1 - beta = C eta^(2/3), C = (c / (4 kappa))^(1/3)

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        noise: c, label-noise strength sigma^2 / B, in units of loss, >= 0
        kappa: kappa = eta^2 c / (4 delta^3), strength of the energies' force, in units of 1 / curvature, > 0

    >>> print(f"{one_minus_beta_at_kappa(0.1, 0.01, 0.5):.4g}")
    0.03684
    """
    lr = np.asarray(lr, dtype=np.float64)
    noise = np.asarray(noise, dtype=np.float64)
    kappa = np.asarray(kappa, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = (1/2)*2**(1/3)*lr**(2/3)*noise**(1/3)/kappa**(1/3)
    return np.asarray(value, dtype=np.float64)


def critical_cubic_linear(
    kappa: ArrayLike,
    curvature: ArrayLike,
    coupling: ArrayLike,
) -> NDArray[np.float64]:
    """Coefficient of r in the cubic of the decay rates, in units of s = delta k. [theory: Price of speed, eq. 9.3]

        a_1 = 1 + kappa (m - g / 2) in r^3 + 2 r^2 + a_1 r + kappa m

    Args:
        kappa: kappa = eta^2 c / (4 delta^3), strength of the energies' force, in units of 1 / curvature, > 0
        curvature: mu, curvature of tr H along Gamma at the flattest point (m for one direction), in units of loss / parameter^4, >= 0
        coupling: g = sum_j |grad lambda_j|^2 / lambda_j at the flattest point, in units of loss / parameter^4, >= 0

    >>> print(f"{critical_cubic_linear(0.5, 0.5, 1.5):.4g}")
    0.875
    """
    kappa = np.asarray(kappa, dtype=np.float64)
    curvature = np.asarray(curvature, dtype=np.float64)
    coupling = np.asarray(coupling, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = (1/2)*sum_of_products((-coupling, kappa), (2*curvature, kappa), (2,))
    return np.asarray(value, dtype=np.float64)


def stability_margin(
    kappa: ArrayLike,
    curvature: ArrayLike,
    coupling: ArrayLike,
) -> NDArray[np.float64]:
    """Positive iff the mean stays at the flattest point (m > 0). [theory: Price of speed, eq. 9.4]

        2 + kappa (m - g)

    Args:
        kappa: kappa = eta^2 c / (4 delta^3), strength of the energies' force, in units of 1 / curvature, > 0
        curvature: mu, curvature of tr H along Gamma at the flattest point (m for one direction), in units of loss / parameter^4, >= 0
        coupling: g = sum_j |grad lambda_j|^2 / lambda_j at the flattest point, in units of loss / parameter^4, >= 0

    >>> print(f"{stability_margin(0.5, 0.5, 1.5):.4g}")
    1.5
    """
    kappa = np.asarray(kappa, dtype=np.float64)
    curvature = np.asarray(curvature, dtype=np.float64)
    coupling = np.asarray(coupling, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = sum_of_products((-coupling, kappa), (curvature, kappa), (2,))
    return np.asarray(value, dtype=np.float64)


def stability_edge_kappa(curvature: ArrayLike, coupling: ArrayLike) -> NDArray[np.float64]:
    """The kappa from which on training leaves the flattest point; inf where the coupling g <= m. [theory: Price of speed, eq. 9.5]

        kappa = 2 / (g - m)

    Args:
        curvature: mu, curvature of tr H along Gamma at the flattest point (m for one direction), in units of loss / parameter^4, >= 0
        coupling: g = sum_j |grad lambda_j|^2 / lambda_j at the flattest point, in units of loss / parameter^4, >= 0

    >>> print(f"{stability_edge_kappa(0.5, 1.5):.4g}")
    2
    """
    curvature = np.asarray(curvature, dtype=np.float64)
    coupling = np.asarray(coupling, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = (
            np.where(coupling > curvature, 2/(coupling - curvature),
            np.inf)
        )
    return np.asarray(value, dtype=np.float64)


def valley_variance(
    kappa: ArrayLike,
    curvature: ArrayLike,
    coupling: ArrayLike,
    squared_slopes: ArrayLike,
) -> NDArray[np.float64]:
    """Stationary variance of the position along the valley, in squared parameter units; inf from the edge on. [theory: Price of speed, eq. 9.7]

        2 kappa G2 / (m (2 + kappa (m - g)))

    Args:
        kappa: kappa = eta^2 c / (4 delta^3), strength of the energies' force, in units of 1 / curvature, > 0
        curvature: mu, curvature of tr H along Gamma at the flattest point (m for one direction), in units of loss / parameter^4, >= 0
        coupling: g = sum_j |grad lambda_j|^2 / lambda_j at the flattest point, in units of loss / parameter^4, >= 0
        squared_slopes: G2 = sum_j |grad lambda_j|^2 at the flattest point, in units of loss^2 / parameter^6, >= 0

    >>> print(f"{valley_variance(0.5, 0.5, 1.5, 0.5):.4g}")
    0.6667
    """
    kappa = np.asarray(kappa, dtype=np.float64)
    curvature = np.asarray(curvature, dtype=np.float64)
    coupling = np.asarray(coupling, dtype=np.float64)
    squared_slopes = np.asarray(squared_slopes, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        margin = sum_of_products((-coupling, kappa), (curvature, kappa), (2,))
        value = (
            np.where(margin <= 0, np.inf,
            2*kappa*squared_slopes/(curvature*margin))
        )
    return np.asarray(value, dtype=np.float64)


def critical_decay_rate(
    kappa: ArrayLike,
    curvature: ArrayLike,
    coupling: ArrayLike,
) -> NDArray[np.float64]:
    """Slowest decay rate at the flattest point, per unit of s = delta k; negative beyond the stability edge. [theory: Price of speed, eq. 9.2]

        min -Re r, (r^2 + r + kappa m) (r + 1) - kappa g r / 2 = 0

    Args:
        kappa: kappa = eta^2 c / (4 delta^3), strength of the energies' force, in units of 1 / curvature, > 0
        curvature: mu, curvature of tr H along Gamma at the flattest point (m for one direction), in units of loss / parameter^4, >= 0
        coupling: g = sum_j |grad lambda_j|^2 / lambda_j at the flattest point, in units of loss / parameter^4, >= 0

    >>> print(f"{critical_decay_rate(0.5, 0.5, 1.5):.4g}")
    0.2318
    """
    kappa = np.asarray(kappa, dtype=np.float64)
    curvature = np.asarray(curvature, dtype=np.float64)
    coupling = np.asarray(coupling, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        a_1 = (1/2)*sum_of_products((-coupling, kappa), (2*curvature, kappa), (2,))
        a_0 = curvature*kappa
        P = a_1 - 4/3
        Q = -a_0 + (2/3)*a_1 - 16/27
        D = (1/27)*P**3 + (1/4)*Q**2
        scale = (1/27)*P**2*abs(P) + (1/4)*Q**2
        root_of_D = np.sqrt(D)
        u = -(root_of_D + (1/2)*abs(Q))**(1/3)*np.sign(Q)
        angle = np.arccos(np.maximum(-1, np.minimum(1, (3/2)*np.sqrt(3)*Q*np.sqrt(-1/P)/P)))
        y_0 = (
            np.where(D > 0, -1/3*P/u + u,
            np.where(P < 0, -2/3*np.sqrt(3)*np.sqrt(-P)*np.sin((1/3)*angle + (1/6)*np.pi),
            0)) + 2/3
        )
        y_1 = y_0 - sum_of_products((-coupling, kappa, y_0), (2*curvature, kappa, y_0), (-2*curvature, kappa), (2*y_0, y_0, y_0), (-4*y_0, y_0), (2*y_0,))/sum_of_products((-coupling, kappa), (2*curvature, kappa), (6, y_0, y_0), (-8*y_0,), (2,))
        y_2 = y_1 - sum_of_products((-coupling, kappa, y_1), (2*curvature, kappa, y_1), (-2*curvature, kappa), (2*y_1, y_1, y_1), (-4*y_1, y_1), (2*y_1,))/sum_of_products((-coupling, kappa), (2*curvature, kappa), (6, y_1, y_1), (-8*y_1,), (2,))
        y_3 = y_2 - sum_of_products((-coupling, kappa, y_2), (2*curvature, kappa, y_2), (-2*curvature, kappa), (2*y_2, y_2, y_2), (-4*y_2, y_2), (2*y_2,))/sum_of_products((-coupling, kappa), (2*curvature, kappa), (6, y_2, y_2), (-8*y_2,), (2,))
        z_0 = 2 - y_3
        z_1 = z_0 - sum_of_products((-coupling, kappa, z_0), (2*coupling, kappa), (2*curvature, kappa, z_0), (-2*curvature, kappa), (2*z_0, z_0, z_0), (-8*z_0, z_0), (10, z_0), (-4,))/sum_of_products((-coupling, kappa), (2*curvature, kappa), (6, z_0, z_0), (-16*z_0,), (10,))
        z_2 = z_1 - sum_of_products((-coupling, kappa, z_1), (2*coupling, kappa), (2*curvature, kappa, z_1), (-2*curvature, kappa), (2*z_1, z_1, z_1), (-8*z_1, z_1), (10, z_1), (-4,))/sum_of_products((-coupling, kappa), (2*curvature, kappa), (6, z_1, z_1), (-16*z_1,), (10,))
        z_3 = z_2 - sum_of_products((-coupling, kappa, z_2), (2*coupling, kappa), (2*curvature, kappa, z_2), (-2*curvature, kappa), (2*z_2, z_2, z_2), (-8*z_2, z_2), (10, z_2), (-4,))/sum_of_products((-coupling, kappa), (2*curvature, kappa), (6, z_2, z_2), (-16*z_2,), (10,))
        close = np.maximum(Q, -1/10000000000*scale + abs(D))
        d = -1/3*np.sqrt(3)*np.sqrt(np.maximum(0, -P)) + 2/3
        bend = 3*d - 2
        f_0 = (1/2)*sum_of_products((2*d, d, d), (-4*d, d), (-d, coupling, kappa), (2*d, curvature, kappa), (2*d,), (-2*curvature, kappa))
        f_1 = (1/2)*sum_of_products((6, d, d), (-8*d,), (-coupling, kappa), (2*curvature, kappa), (2,))
        h_3 = -bend + f_1/bend - f_0/bend**2
        h_sum = f_0/h_3**2 + f_1/h_3
        value = (
            np.where(close < 0, d + (1/2)*h_sum - np.sqrt(np.maximum(0, f_0/h_3 + (1/4)*h_sum**2)),
            np.where(D > 0, np.minimum(y_3, (1/2)*z_3),
            y_3))
        )
    return np.asarray(value, dtype=np.float64)


def adam_one_minus_beta(
    lr: ArrayLike,
    adam_curvature: ArrayLike,
    decoupled_decay: ArrayLike,
) -> NDArray[np.float64]:
    """The 1 - beta1 of Adam or AdamW that damps the motion along Gamma critically. [theory: Averages of gradients, eq. 12.7]

        1 - beta1 = (sqrt(k0) + sqrt(k0 + eta h_w))^2, k0 = eta^2 mu_A / 4

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        adam_curvature: mu_A, curvature along Gamma that Adam feels, k0 = eta^2 mu_A / 4, in units of 1 / parameter^2, >= 0
        decoupled_decay: h_w, decay along Gamma per step and eta of AdamW's weight decay, in units of 1 / parameter, >= 0

    >>> print(f"{adam_one_minus_beta(0.1, 0.5, 0.5):.4g}")
    0.06851
    """
    lr = np.asarray(lr, dtype=np.float64)
    adam_curvature = np.asarray(adam_curvature, dtype=np.float64)
    decoupled_decay = np.asarray(decoupled_decay, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = ((1/2)*np.sqrt(adam_curvature)*lr + np.sqrt((1/4)*adam_curvature*lr**2 + decoupled_decay*lr))**2
    return np.asarray(value, dtype=np.float64)


def adam_lr(
    one_minus_beta: ArrayLike,
    adam_curvature: ArrayLike,
    decoupled_decay: ArrayLike,
) -> NDArray[np.float64]:
    """The lr at which `adam_one_minus_beta` is the given one. [theory: Averages of gradients, eq. 12.8]

        eta = delta / (h_w + sqrt(mu_A delta))

    Args:
        one_minus_beta: delta = 1 - beta, beta the momentum, in (0, 1]
        adam_curvature: mu_A, curvature along Gamma that Adam feels, k0 = eta^2 mu_A / 4, in units of 1 / parameter^2, >= 0
        decoupled_decay: h_w, decay along Gamma per step and eta of AdamW's weight decay, in units of 1 / parameter, >= 0

    >>> print(f"{adam_lr(0.1, 0.5, 0.5):.4g}")
    0.1382
    """
    one_minus_beta = np.asarray(one_minus_beta, dtype=np.float64)
    adam_curvature = np.asarray(adam_curvature, dtype=np.float64)
    decoupled_decay = np.asarray(decoupled_decay, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = one_minus_beta/(np.sqrt(adam_curvature)*np.sqrt(one_minus_beta) + decoupled_decay)
    return np.asarray(value, dtype=np.float64)


def interpolation_one_minus_beta(
    lr: ArrayLike,
    eigenvalue: ArrayLike,
    trace_hessian: ArrayLike,
    soft_share: ArrayLike,
    n_outputs: ArrayLike,
    batch_size: ArrayLike,
) -> NDArray[np.float64]:
    """Best 1 - beta for the fit itself under mini-batches; `eigenvalue` is the softest. [theory: Interpolation, eq. 13.6]

        1 - beta* = sqrt((phi eta tr H (1 + sqrt(S)) / 2)^2 + (2 sqrt(a) - a)^2)

    Args:
        lr: eta, learning rate, in units of parameter^2 / loss, > 0
        eigenvalue: lambda, eigenvalue of the Hessian on Gamma; a = eta lambda, in units of loss / parameter^2, > 0
        trace_hessian: tr H, trace of the Hessian, in units of loss / parameter^2, > 0
        soft_share: S, share of tr H that the softest eigenvalue holds, in (0, 1]
        n_outputs: P, number of outputs on the training set, > 1
        batch_size: B, samples in a batch, from 1 to P

    >>> print(f"{interpolation_one_minus_beta(0.1, 1.5, 0.5, 0.5, 40, 8):.4g}")
    0.6246
    """
    lr = np.asarray(lr, dtype=np.float64)
    eigenvalue = np.asarray(eigenvalue, dtype=np.float64)
    trace_hessian = np.asarray(trace_hessian, dtype=np.float64)
    soft_share = np.asarray(soft_share, dtype=np.float64)
    n_outputs = np.asarray(n_outputs, dtype=np.float64)
    batch_size = np.asarray(batch_size, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        phi = (-batch_size + n_outputs)/(batch_size*(n_outputs - 1))
        a = eigenvalue*lr
        value = (
            np.sqrt((1/4)*lr**2*phi**2*trace_hessian**2*(np.sqrt(soft_share) + 1)**2 + np.where(a < 1, a*(2 - np.sqrt(a))**2,
            1))
        )
    return np.asarray(value, dtype=np.float64)
