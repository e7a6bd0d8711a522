"""Relaxation time and stationary variance of each normal mode, and the time scale of the drift along Gamma
[theory: Relaxation; Drift]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core.arguments import by_annotations
from ..core.errors import InputError, check, check_lr, check_momentum, check_non_negative, check_one_minus_beta
from . import formulas

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Timescales:
    """Timescales of heavy ball or Nesterov momentum for given modes; all arrays have the same shape.

    Attributes:
        lr: learning rate eta
        one_minus_beta: delta = 1 - beta
        eigenvalue: Hessian eigenvalue lambda of the normal mode
        nesterov: whether the update is Nesterov's, with the gradient at w + beta v
        transverse: tau_perp = -1 / ln max|chi|, in steps, exact at any lr [theory: Relaxation, eq. 2.3]; inf if unstable
        regime: "overdamped" (real multipliers; at large a = lr * eigenvalue one of them is negative and the
            mode alternates in sign), "underdamped" (complex multipliers) or "unstable" (tau_perp = inf)
        stationary_variance: of the mode under label noise [theory: Relaxation, eq. 2.10], in squared parameter units; inf
            if unstable; None if `noise` was not given
        longitudinal: tau_par = 4 delta^2 / (eta^2 c mu), in steps [theory: Drift, eq. 3.8], valid for a = lr * eigenvalue much
            below delta, and while it exceeds 4 / delta (critical damping); inf where the mode is unstable; None unless `noise`
            and `curvature` were given

    >>> found = timescales(lr=0.1, momentum=0.9, eigenvalue=1.0, noise=1e-3, curvature=2.0)
    >>> str(found.regime), round(float(found.transverse), 1), round(float(found.longitudinal))
    ('underdamped', 19.0, 2000)
    """

    lr: Floats
    one_minus_beta: Floats
    eigenvalue: Floats
    nesterov: bool
    transverse: Floats
    regime: NDArray[np.str_]
    stationary_variance: Floats | None
    longitudinal: Floats | None

    def __str__(self) -> str:
        name = "Nesterov" if self.nesterov else "heavy ball"
        counts = [(kind, int(np.sum(self.regime == kind))) for kind in ("overdamped", "underdamped", "unstable")]
        modes = ", ".join(f"{count} {kind}" for kind, count in counts if count)
        lines = [f"Timescales ({name}; {modes})", f"  across Gamma: {_span(self.transverse)} steps"]
        if self.longitudinal is not None:
            lines.append(f"  along Gamma:  {_span(self.longitudinal)} steps")
        if self.stationary_variance is not None:
            lines.append(f"  stationary variance: {_span(self.stationary_variance)}")
        return "\n".join(lines)


@by_annotations
def timescales(
    lr: ArrayLike,
    momentum: ArrayLike | None = None,
    *,
    one_minus_beta: ArrayLike | None = None,
    eigenvalue: ArrayLike,
    noise: ArrayLike | None = None,
    curvature: ArrayLike | None = None,
    nesterov: bool = False,
) -> Timescales:
    """The timescales of SGD with momentum across and along a manifold of minimizers.

        chi^2 - (1 + beta - a) chi + beta = 0,  a = eta lambda,  tau_perp = -1 / ln max|chi|   [theory: Relaxation, eq. 2.3]
        s = eta c (1 + beta) / (delta (2 (1 + beta) - a))                                     [theory: Relaxation, eq. 2.10]
        tau_par = 4 delta^2 / (eta^2 c mu)                                                    [theory: Drift, eq. 3.8]

    chi are the multipliers of the update: a mode is a sum of powers chi^k, k counting steps. With `nesterov` the first two
    are those of x_{k+1} = (1-a) ((1+beta) x_k - beta x_{k-1}) + noise [theory: Relaxation, eq. 2.4; Relaxation, eq. 2.11].
    All arguments broadcast.

    Args:
        lr: learning rate eta, > 0
        momentum: beta in [0, 1); give either this or `one_minus_beta`
        one_minus_beta: delta = 1 - beta in (0, 1]; keeps its digits where beta is close to 1
        eigenvalue: Hessian eigenvalues lambda of the normal modes, > 0
        noise: label-noise strength c = sigma^2 / B, in units of the loss, >= 0
        curvature: mu, curvature of tr H along Gamma, >= 0
        nesterov: the look-ahead update (`torch.optim.SGD(nesterov=True)`) in place of heavy ball

    Raises:
        InputError: for a value out of range, for shapes that do not broadcast, or unless exactly one of
            `momentum` and `one_minus_beta` is given.

    Source: arXiv 2210.16400 for the two timescales; the exact forms are derived in `derivations`.

    >>> slow = timescales(0.1, 0.9, eigenvalue=[1e-3, 1.0, 40.0], noise=1e-4, curvature=2.0)
    >>> slow.regime.tolist()
    ['overdamped', 'underdamped', 'unstable']
    >>> slow.transverse.round(1).tolist()
    [990.4, 19.0, inf]
    >>> float(slow.longitudinal[0].round())
    20000.0
    """
    delta = _one_minus_beta(momentum, one_minus_beta)
    given = {
        "lr": check_lr(lr),
        "one_minus_beta": delta,
        "eigenvalue": check("eigenvalue", eigenvalue, lambda x: x > 0, "finite numbers > 0: the modes normal to Gamma"),
    }
    if noise is not None:
        given["noise"] = check_non_negative(noise, "noise")
    if curvature is not None:
        given["curvature"] = check_non_negative(curvature, "curvature")
    full = _broadcast(given)
    mode = full["lr"], full["eigenvalue"], full["one_minus_beta"]

    if nesterov:
        transverse = formulas.nesterov_relaxation_time(*mode)
        discriminant = formulas.nesterov_discriminant(*mode)
    else:
        transverse = formulas.heavy_ball_relaxation_time(*mode)
        discriminant = formulas.heavy_ball_discriminant(*mode)
    unstable = np.isinf(transverse)
    regime = np.where(unstable, "unstable", np.where(discriminant < 0, "underdamped", "overdamped"))

    variance = longitudinal = None
    if "noise" in full:
        of_mode = formulas.nesterov_stationary_variance if nesterov else formulas.heavy_ball_stationary_variance
        variance = of_mode(*mode, full["noise"])
        if "curvature" in full:
            time = formulas.longitudinal_time(mode[0], mode[2], full["noise"], full["curvature"])
            longitudinal = np.where(unstable, np.inf, time)
    return Timescales(mode[0], mode[2], mode[1], nesterov, transverse, regime, variance, longitudinal)


def _one_minus_beta(momentum: ArrayLike | None, one_minus_beta: ArrayLike | None) -> Floats:
    if momentum is not None and one_minus_beta is not None:
        raise InputError("momentum", "momentum and one_minus_beta", "exactly one of the two")
    if momentum is not None:
        return np.asarray(1 - check_momentum(momentum))
    if one_minus_beta is not None:
        return check_one_minus_beta(one_minus_beta)
    raise InputError("momentum", "neither momentum nor one_minus_beta", "exactly one of the two")


def _broadcast(given: dict[str, Floats]) -> dict[str, Floats]:
    try:
        arrays = np.broadcast_arrays(*given.values())
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in given.items())
        raise InputError("shapes", shapes, "shapes that broadcast together") from None
    return dict(zip(given, arrays, strict=True))


def _span(values: Floats) -> str:
    """'3.2' or '1 to 7.5'."""
    if not values.size:
        return "no"
    low, high = np.min(values), np.max(values)
    return f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
