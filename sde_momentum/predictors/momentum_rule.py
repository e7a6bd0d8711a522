"""The best momentum as a function of the learning rate, from a tuned pair, noise and curvature, forces, or a sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from ..core.arguments import by_annotations
from ..core.errors import (
    InputError,
    check,
    check_lr,
    check_momentum,
    check_non_negative,
    check_one,
    check_positive,
)
from ..theory import formulas
from .loss_multiplier import check_least_squares

if TYPE_CHECKING:  # a rule from a tuned pair needs no geometry
    from ..geometry.manifold_point import ManifoldPoint
    from .forces import Force

Floats = NDArray[np.float64]


class _Law(Protocol):
    """1 - beta as a function of lr that grows without bound, and its inverse."""

    def one_minus_beta(self, lr: Floats) -> Floats: ...

    def lr(self, one_minus_beta: Floats) -> Floats: ...


@dataclass(frozen=True)
class _PowerLaw:
    """1 - beta = delta0 (eta / eta0)^gamma, and its inverse [theory: Ways to predict, eq. 11.1; Ways to predict, eq. 11.2]."""

    reference_lr: Floats
    reference_one_minus_beta: Floats
    exponent: Floats

    def one_minus_beta(self, lr: Floats) -> Floats:
        return formulas.power_law_one_minus_beta(lr, self.reference_lr, self.reference_one_minus_beta, self.exponent)

    def lr(self, one_minus_beta: Floats) -> Floats:
        return formulas.power_law_lr(one_minus_beta, self.reference_lr, self.reference_one_minus_beta, self.exponent)


@dataclass(frozen=True)
class _CriticalDamping:
    """delta^2 = 4 zeta^2 k(delta), k = eta h + eta^2 c mu / (4 delta) [theory: Forces, eq. 6.2; Forces, eq. 6.3]."""

    noise: Floats
    curvature: Floats
    explicit_curvature: Floats
    damping_ratio: Floats

    def one_minus_beta(self, lr: Floats) -> Floats:
        return formulas.critical_one_minus_beta(lr, self.noise, self.curvature, self.explicit_curvature, self.damping_ratio)

    def lr(self, one_minus_beta: Floats) -> Floats:
        return formulas.critical_lr(one_minus_beta, self.noise, self.curvature, self.explicit_curvature, self.damping_ratio)


@dataclass(frozen=True)
class _Averages:
    """delta = (sqrt(k0) + sqrt(k0 + eta h_w))^2, and its inverse [theory: Averages of gradients, eq. 12.7]."""

    curvature: Floats
    decay: Floats

    def one_minus_beta(self, lr: Floats) -> Floats:
        return formulas.adam_one_minus_beta(lr, self.curvature, self.decay)

    def lr(self, one_minus_beta: Floats) -> Floats:
        return formulas.adam_lr(one_minus_beta, self.curvature, self.decay)


@dataclass(frozen=True)
class _Interpolation:
    """The best 1 - beta for the fit itself, and its inverse [theory: Interpolation, eq. 13.6]."""

    eigenvalue: float
    trace: float
    share: float
    n_outputs: int
    batch_size: int

    def one_minus_beta(self, lr: Floats) -> Floats:
        return formulas.interpolation_one_minus_beta(lr, self.eigenvalue, self.trace, self.share, self.n_outputs, self.batch_size)

    def lr(self, one_minus_beta: Floats) -> Floats:
        slope = 0.5 * formulas.minibatch_noise(1.0, self.n_outputs, self.batch_size) * self.trace * (1 + math.sqrt(self.share))
        return np.vectorize(self._lr, otypes=[float])(one_minus_beta, slope)

    def _lr(self, delta: float, slope: float) -> float:
        """The root: above it either part of the sum of squares alone exceeds delta, below it both are at most delta / sqrt(2)."""

        def largest(part: float) -> float:
            critical = (part / (1 + math.sqrt(1 - part))) ** 2 / self.eigenvalue
            return min(part / slope, critical) if slope > 0 else critical

        low, high = largest(delta / math.sqrt(2)) * (1 - 1e-12), largest(delta) * (1 + 1e-12)
        return float(brentq(lambda lr: float(self.one_minus_beta(np.asarray(lr))) - delta, low, high, xtol=1e-300, rtol=1e-13))


class MomentumRule:
    """The best momentum as a function of the learning rate.

    Made by `from_reference` (a tuned pair), `from_geometry` (noise and curvature), `from_forces` (several forces on a
    problem), `from_sweep` (a fit to measured optima), `for_adam` (the least 1 - beta1 of Adam) or `for_interpolation`
    (mini-batches without label noise). Where a formula gives 1 - beta > 1, at a large learning rate, the
    answer is clamped to beta = 0; `clamped` says where and `explain` why. Scalars in, a float out; arrays in, arrays out.

    >>> rule = MomentumRule.from_reference(0.1, 0.9)
    >>> round(rule.momentum(0.01), 6)
    0.978456
    >>> round(rule.lr(0.978456), 5)
    0.01
    """

    def __init__(self, law: _Law, source: str, batch_size: float | None = None) -> None:
        self._law = law
        self.source = source
        self._batch_size = batch_size

    @classmethod
    @by_annotations
    def from_reference(
        cls,
        lr: ArrayLike,
        momentum: ArrayLike,
        *,
        batch_size: float | None = None,
        exponent: float | None = None,
        nesterov: bool = False,
    ) -> MomentumRule:
        """Transfer a tuned pair to other learning rates and batch sizes [theory: Ways to predict, eq. 11.1].

            1 - beta = (1 - beta0) (eta / eta0)^gamma (B0 / B)^(gamma / 2)

        The batch size enters with the noise, c = sigma^2 / B, on which the law depends through eta^2 c [theory: Effective loss,
        eq. 5.5].

        Args:
            lr: tuned learning rate eta0, > 0
            momentum: tuned momentum beta0, in [0, 1)
            batch_size: B0 > 0 of the tuned pair, where other batch sizes will be asked for
            exponent: gamma > 0; None: 2/3, for Nesterov 1/2. Short trainings at constant lr have about 1, annealed ones about 2/3
                (docs/pytorch.md)
            nesterov: Nesterov momentum in place of heavy ball

        Raises:
            InputError: for a value out of range.

        Source: the exponent 2/3 is that of arXiv 2210.16400; Nesterov's: [theory: Forces, eq. 6.13].

        >>> rule = MomentumRule.from_reference(0.1, 0.9, batch_size=64)
        >>> round(rule.momentum(0.1, batch_size=512), 3)
        0.95
        """
        tuned_lr, tuned = check_lr(lr), check_momentum(momentum)
        size = None if batch_size is None else check_one(check_positive, batch_size, "batch_size")
        gamma, name = (1 / 2, "1/2") if nesterov else (2 / 3, "2/3")
        if exponent is not None:
            gamma = check_one(check_positive, exponent, "exponent")
            name = f"{gamma:.6g}"
        law = _PowerLaw(tuned_lr, np.asarray(1 - tuned), np.asarray(gamma))
        batch = "" if size is None else f", batch size = {size:.6g}"
        return cls(law, f"reference: lr = {_show(tuned_lr)}, momentum = {_show(tuned)}{batch}, exponent {name}", size)

    @classmethod
    @by_annotations
    def from_geometry(
        cls,
        noise: ArrayLike,
        curvature: ArrayLike,
        explicit_curvature: ArrayLike = 0.0,
        target: ArrayLike | None = None,
    ) -> MomentumRule:
        """The 1 - beta that damps the motion along Gamma critically, or just less for a target [theory: Forces, eq. 6.2].

            delta^2 = 4 zeta^2 k(delta),  k(delta) = eta h + eta^2 c mu / (4 delta)

        Without h this is 1 - beta = (c mu zeta^2)^(1/3) eta^(2/3) [theory: Effective loss, eq. 5.5]. zeta = 1 is critical
        damping; zeta(x) = |ln x| / sqrt(pi^2 + ln^2 x) overshoots by just x [theory: Effective loss, eq. 5.6].

        Args:
            noise: label-noise strength c = sigma^2 / B, in units of the loss, >= 0
            curvature: mu, second derivative of tr H along Gamma, >= 0, in loss / parameter^4
            explicit_curvature: h >= 0 of an explicit force, in loss / parameter^2 (weight decay on a straight Gamma: h = wd)
            target: x in (0, 1): the displacement is to stay below this fraction of its start; None: critical damping (x -> 0)

        Raises:
            InputError: for a value out of range, or when no force along Gamma is left.

        >>> round(MomentumRule.from_geometry(noise=1e-4, curvature=10.0).momentum(1e-3), 6)
        0.999
        """
        c = check_non_negative(noise, "noise")
        mu = check_non_negative(curvature, "curvature")
        h = check_non_negative(explicit_curvature, "explicit_curvature")
        try:
            force = c * mu + h
        except ValueError:
            shapes = f"noise {c.shape}, curvature {mu.shape}, explicit_curvature {h.shape}"
            raise InputError("shapes", shapes, "shapes that broadcast together") from None
        if np.any(force == 0):
            raise InputError(
                "noise * curvature and explicit_curvature",
                "both 0",
                "one of them > 0, or nothing drives the weights along the manifold of minimizers",
            )
        zeta = np.asarray(1.0)
        if target is not None:
            zeta = formulas.damping_ratio(check("target", target, lambda x: (x > 0) & (x < 1), "numbers in (0, 1), or None"))
        source = f"geometry: noise = {_show(c)}, curvature = {_show(mu)}, explicit_curvature = {_show(h)}"
        law: _Law = _CriticalDamping(c, mu, h, zeta)
        if not np.any(h):  # a power law: no cubic to solve at every step of an optimizer
            law = _PowerLaw(np.asarray(1.0), formulas.label_noise_one_minus_beta(1.0, c, mu, zeta), np.asarray(2 / 3))
        return cls(law, f"{source}, damping ratio {_show(zeta)}")

    @classmethod
    @by_annotations
    def from_forces(
        cls,
        point: ManifoldPoint,
        displacement: ArrayLike,
        forces: Sequence[Force],
        *,
        target: float | None = None,
        nesterov: bool = False,
        dampening: float | str = 0.0,
    ) -> MomentumRule:
        """The 1 - beta that damps the motion along Gamma under several forces, at finite lr [theory: Forces, eq. 6.2].

            delta^2 = 4 zeta^2 k(delta),  k = the sum of the forces' stiffnesses

        Args:
            point: the flattest point, or that where the forces balance
            displacement: direction of the motion, (N,); only its part along Gamma counts
            forces: at least one, such as LabelNoise(c), WeightDecay(wd)
            target: x in (0, 1), as in `from_geometry`; None for critical damping
            nesterov: Nesterov momentum in place of heavy ball [theory: Forces, eq. 6.13]
            dampening: v <- beta v + (1 - dampening) g, as in `torch.optim.SGD`: in [0, 1), or "momentum" for dampening = beta,
                an average of gradients [theory: Forces, eq. 6.14]; not with nesterov

        Raises:
            InputError: for a value out of range; the rule's answers raise it too, at an unstable lr, or where the forces do not
                restore the displacement.

        >>> import numpy as np, sde_momentum as sm
        >>> valley = sm.Valley([1.0, 2.0], 0.0, curvature=1.0)
        >>> point = sm.ManifoldPoint(valley, valley.start(0.0))
        >>> forces = [sm.forces.LabelNoise(1e-3), sm.forces.WeightDecay(1e-4)]
        >>> rule = MomentumRule.from_forces(point, np.array([1.0, 0, 0]), forces)
        >>> closed = MomentumRule.from_geometry(noise=1e-3, curvature=1.0, explicit_curvature=1e-4)
        >>> round(float(rule.one_minus_beta(0.01) / closed.one_minus_beta(0.01)), 2)
        1.0
        """
        from .damped_forces import DampedForces
        from .forces import Force

        if not isinstance(forces, Sequence) or not forces or not all(isinstance(force, Force) for force in forces):
            raise InputError("forces", forces, "a sequence of at least one Force, such as [LabelNoise(c)]")
        if dampening != "momentum":
            check("dampening", dampening, lambda x: (x >= 0) & (x < 1), 'a number in [0, 1), or "momentum"')
        if nesterov and dampening != 0:
            raise InputError("dampening", dampening, "0 with nesterov")
        zeta = 1.0
        if target is not None:
            zeta = float(
                formulas.damping_ratio(check("target", target, lambda x: (x > 0) & (x < 1), "a number in (0, 1), or None"))
            )
        direction = np.asarray(displacement, dtype=np.float64)
        law = DampedForces(point, direction, tuple(forces), zeta, nesterov, dampening)
        point.curvature(direction)  # refuses a displacement without a part along Gamma
        kinds = " + ".join(type(force).__name__ for force in forces)
        return cls(law, f"forces: {kinds}, damping ratio {zeta:.6g}{', Nesterov' if nesterov else ''}")

    @classmethod
    def from_sweep(cls, result: object) -> MomentumRule:
        """The power law 1 - beta = C lr^gamma fitted to measured optima [theory: Ways to predict, eq. 11.4].

        Args:
            result: has `exponent` (gamma) and `prefactor` (C) as attributes, as keys, or in its `attrs`
                (an `xarray.Dataset`, such as the results of `sde-momentum validate`); both > 0

        Raises:
            InputError: when either is missing or not a positive number.

        >>> MomentumRule.from_sweep({"exponent": 0.5, "prefactor": 1.0}).momentum(0.01)
        0.9
        """
        gamma = check_positive(_entry(result, "exponent"), "exponent")
        prefactor = check_positive(_entry(result, "prefactor"), "prefactor")
        law = _PowerLaw(np.asarray(1.0), prefactor, gamma)
        return cls(law, f"sweep: 1 - beta = {_show(prefactor)} lr^{_show(gamma)}")

    @classmethod
    @by_annotations
    def for_adam(cls, curvature: ArrayLike, decay: ArrayLike = 0.0) -> MomentumRule:
        """The least 1 - beta1 of Adam or AdamW near a manifold of minimizers [theory: Averages of gradients, eq. 12.7].

            1 - beta1 = (sqrt(k0) + sqrt(k0 + eta h_w))^2,  k0 = eta^2 mu_A / 4

        It damps the motion along Gamma critically. Far above it beta1 does not change the speed: any smaller beta1 is as good.
        Neither noise nor batch size is in it. If the drift was seen to fall by a factor e in n steps at the learning rate eta0,
        mu_A = 4 / (n eta0^2), and the bound at eta0 is 4 / n: an average over a quarter of the drift's own time.

        Args:
            curvature: mu_A >= 0, in 1 / parameter^2: `sm.predictors.adam_curvature`, or measured
            decay: h_w >= 0 of AdamW's decoupled weight decay, which bypasses the average (on a straight Gamma: the weight decay);
                0 for none

        Raises:
            InputError: for a value out of range, both 0, or shapes that do not broadcast.

        >>> rule = MomentumRule.for_adam(curvature=10.0)
        >>> round(rule.one_minus_beta(1e-3) / 1e-5, 6)
        1.0
        >>> round(rule.lr(0.99), 6)
        0.031623
        """
        mu, h = check_non_negative(curvature, "curvature"), check_non_negative(decay, "decay")
        try:
            both = mu + h
        except ValueError:
            raise InputError("shapes", f"curvature {mu.shape}, decay {h.shape}", "shapes that broadcast together") from None
        if np.any(both == 0):
            raise InputError("curvature and decay", "both 0", "one of them > 0: no force along Gamma")
        return cls(_Averages(mu, h), f"Adam: curvature = {_show(mu)}, decay = {_show(h)}")

    @classmethod
    @by_annotations
    def for_interpolation(cls, eigenvalues: ArrayLike, n_outputs: int, batch_size: int) -> MomentumRule:
        """The best momentum for the fit itself, by mini-batches without label noise [theory: Interpolation, eq. 13.6].

            1 - beta = sqrt(d_n^2 + d_c^2),  d_n = phi eta tr H (1 + sqrt(S)) / 2,  d_c = 2 sqrt(a) - a

        phi = (P - B) / (B (P - 1)) is the strength of the sampling noise, S the share of tr H that the least eigenvalue holds
        (all within a factor 2 of it), a = eta times the least. Both limits are derived: d_n that of small batches, d_c, critical
        damping, that of large ones; their sum of squares is between them. For eta times the largest eigenvalue below about 1/2.

        Args:
            eigenvalues: lambda_j > 0 of H in the normal space, (n,), in loss / parameter^2
            n_outputs: P, from 2 to 10^15, outputs on the training set, drawn one by one
            batch_size: B, from 1 to P, without replacement

        Raises:
            InputError: for a value out of range.

        >>> rule = MomentumRule.for_interpolation([0.01, 1.0], n_outputs=1000, batch_size=10)
        >>> round(rule.one_minus_beta(1e-4), 6), round(rule.one_minus_beta(0.5), 6)
        (0.001999, 0.139168)
        """
        values, p, size = check_least_squares(eigenvalues, n_outputs, batch_size)
        least, trace = float(values.min()), float(values.sum())
        share = float(values[values <= 2 * least].sum()) / trace
        law = _Interpolation(least, trace, share, p, size)
        return cls(law, f"interpolation: least eigenvalue {least:.6g}, tr H = {trace:.6g}, batches of {size} of {p}")

    @by_annotations
    def one_minus_beta(self, lr: ArrayLike, batch_size: float | None = None) -> float | Floats:
        """1 - beta at `lr`, at most 1, to full relative precision also where beta rounds to 1.

        `batch_size`: B > 0, for a rule from a tuned pair with a batch size; None: that of the pair. Raises InputError.
        """
        return _at_most_one(self._asked(lr if batch_size is None else self._as_if(lr, batch_size)))

    @by_annotations
    def momentum(self, lr: ArrayLike, batch_size: float | None = None) -> float | Floats:
        """beta at `lr`, at least 0; `batch_size` as for `one_minus_beta`."""
        return 1 - self.one_minus_beta(lr, batch_size)

    @by_annotations
    def lr(self, momentum: ArrayLike) -> float | Floats:
        """The learning rate at which this momentum is the best; at momentum 0 the one above which answers are clamped."""
        return _plain(self._law.lr(np.asarray(1 - check_momentum(momentum))))

    @by_annotations
    def clamped(self, lr: ArrayLike) -> bool | NDArray[np.bool_]:
        """Whether the formula gives 1 - beta > 1 at `lr`, so that the answer is beta = 0."""
        over = self._asked(lr) > 1
        return over if np.ndim(over) else bool(over)

    @by_annotations
    def explain(self, lr: ArrayLike) -> str:
        """The momentum at each `lr` in words, with the reason where it is clamped; one line each.

        >>> print(MomentumRule.from_reference(0.1, 0.9).explain(0.01))
        lr = 0.01: momentum 0.97846 (1 - beta = 0.021544)
        """
        asked = self._asked(lr)
        rates = np.broadcast_to(np.asarray(lr, dtype=np.float64), asked.shape)
        edges = np.broadcast_to(self._law.lr(np.asarray(1.0)), asked.shape)
        rows = zip(rates.flat, asked.flat, edges.flat, strict=True)
        return "\n".join(_explain_one(*row) for row in rows)

    def __repr__(self) -> str:
        return f"MomentumRule({self.source})"

    def _as_if(self, lr: ArrayLike, batch_size: float) -> Floats:
        """The learning rate of the same eta^2 / B at the tuned batch size."""
        if self._batch_size is None:
            raise InputError(
                "batch_size", batch_size, "none: the rule was made without one (from_reference(..., batch_size=...))"
            )
        size = check_one(check_positive, batch_size, "batch_size")
        return np.asarray(check_lr(lr) * math.sqrt(self._batch_size / size))

    def _asked(self, lr: ArrayLike) -> Floats:
        """1 - beta by the formula, not clamped."""
        # an optimizer asks at every step: a float needs no array to be checked
        rates = np.float64(lr) if isinstance(lr, float) and 0 < lr < math.inf else check_lr(lr)
        try:
            return self._law.one_minus_beta(rates)
        except InputError:
            raise
        except ValueError:
            raise InputError("lr", f"shape {rates.shape}", f"a shape that broadcasts with {self!r}") from None


def _explain_one(lr: float, asked: float, largest_lr: float) -> str:
    if asked <= 1:
        return f"lr = {lr:.5g}: momentum {1 - asked:.5g} (1 - beta = {asked:.5g})"
    return (
        f"lr = {lr:.5g}: clamped to momentum 0: the rule asks for 1 - beta = {asked:.5g}, but 1 - beta = 1, plain SGD, is the "
        f"strongest damping. Above lr = {largest_lr:.5g} momentum does not help, or lr is too large for the theory."
    )


def _entry(result: object, name: str) -> ArrayLike:
    """`name` from an attribute, a key, or the `attrs` of `result`."""
    for place in (result, getattr(result, "attrs", None)):
        if isinstance(place, Mapping) and name in place:
            return place[name]
    value = getattr(result, name, None)
    if value is None:
        raise InputError("result", f"{type(result).__name__} without {name!r}", "an object with 'exponent' and 'prefactor'")
    return value


def _at_most_one(values: Floats) -> float | Floats:
    """A 0-d result as a float: an optimizer asks at every step."""
    return np.minimum(values, 1.0) if values.ndim else min(float(values), 1.0)


def _plain(values: Floats) -> float | Floats:
    """A 0-d result as a float."""
    return values if np.ndim(values) else float(values)


def _show(values: Floats) -> str:
    """A short text of a number or of an array."""
    return f"{values:.6g}" if values.ndim == 0 else np.array2string(values, precision=6, threshold=6)
