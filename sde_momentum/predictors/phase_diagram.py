"""The phase diagram: regimes of label-noise SGD with momentum over (lr, 1 - beta), the optimum and the stability edge."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from .. import __version__
from ..core.arguments import by_annotations
from ..core.errors import InputError, check_lr, check_one, check_one_minus_beta, check_positive, check_size
from ..geometry.manifold_point import ManifoldPoint
from ..problems.problem import Array
from ..theory import formulas
from ..theory.relaxation import timescales
from .effective_loss import EffectiveLossPredictor
from .momentum_rule import MomentumRule

Floats = NDArray[np.float64]

REGIMES = {
    "overdamped": "every normal mode is overdamped: its multipliers are real",
    "mixed": "some normal modes are overdamped, some underdamped",
    "underdamped": "every normal mode is underdamped: its multipliers are complex; the motion along Gamma is overdamped",
    "inertial drift": "the motion along Gamma is underdamped: delta^2 < 4 k(delta)",
    "beyond the edge": "the mean leaves the flattest point: eta^2 c / (4 delta^3) > 2 / (g - m)",
    "unstable normal": "a normal mode diverges: eta lambda >= 2 (1 + beta) at the largest eigenvalue lambda",
}
"""The regimes in the order of their codes 0, 1, ...; where several hold, the last one counts. Symbols as in `PhaseDiagram`."""

N_GRID = 301
"""Default number of points on each axis of `PhaseDiagram.dataset`."""
_BISECTIONS = 60
"""Number of bisections for the stability edge; the last one moves it by less than rounding."""


_WIDEST = 1e6
"""Largest band around the optimum."""


@by_annotations
@dataclass(frozen=True, eq=False)
class PhaseDiagram:
    """The regimes of heavy ball or Nesterov momentum at any (lr, 1 - beta), near one flattest point.

        underdamped normal mode:  (1 + beta - a)^2 < 4 beta               [theory: Relaxation, eq. 2.7]
        unstable normal mode:     a >= 2 (1 + beta)                       [theory: Relaxation, eq. 2.5]
        inertial drift:           delta^2 < 4 k(delta)                    [theory: Forces, eq. 6.2]
        beyond the edge:          2 + eta h / delta^2 + kappa (m - g) < 0 [theory: Price of speed, eq. 9.6]
        optimum:                  delta^2 = 4 zeta(x)^2 k(delta)          [theory: Forces, eq. 6.2]

    eta is the learning rate, delta = 1 - beta, and a = eta lambda of a normal mode of eigenvalue lambda.
    k = eta h + eta^2 c mu / (4 delta) is the stiffness along Gamma per step squared, zeta(x) the damping ratio that overshoots
    by x, kappa = eta^2 c / (4 delta^3) the strength of the energies' force, m = mu the curvature of tr H and g the coupling.

    With h = 0 the stability edge is kappa = 2 / (g - m) [theory: Price of speed, eq. 9.5]. A run can reach a target before it
    leaves the flattest point. With Nesterov momentum k, edge and optimum hold for a much below delta only: its modes are damped
    by delta + a and push less along Gamma.

    Args:
        noise: c = sigma^2 / B, in units of the loss, >= 0
        curvature: mu, second derivative of tr H along Gamma, >= 0; also the m of the edge
        eigenvalues: Hessian eigenvalues of the normal modes at the flattest point, > 0, (n,)
        coupling: g >= 0, in units of curvature; no edge unless g > mu
        edge_kappa: kappa at the edge, > 0, in units of 1 / curvature; in place of `coupling`
        explicit_curvature: h >= 0 of an explicit force, in loss / parameter^2 (weight decay on a straight Gamma: h = wd)
        target: x in (0, 1): the displacement is to stay below this fraction of its start; None: x -> 0
        band: the optimum's band is from optimum / (1 + band) to optimum * (1 + band), > 0; None: from the optimum to critical
            damping, zeta = 1, at a larger 1 - beta
        largest_eigenvalue: the largest met in training, where it exceeds `eigenvalues`; it alone decides stability
        nesterov: Nesterov momentum in place of heavy ball; in this diagram it changes the normal modes only

    Raises:
        InputError: for a value out of range, or when no force along Gamma is left.

    >>> diagram = PhaseDiagram(noise=1e-3, curvature=2.0, eigenvalues=[0.5, 2.0], coupling=5.0)
    >>> round(float(diagram.optimum(0.01)), 5), round(float(diagram.edge(0.01)), 5)
    (0.00585, 0.00335)
    >>> [list(REGIMES)[i] for i in diagram.regime(0.01, [0.5, 0.2, 0.1, 0.005, 0.002])]
    ['overdamped', 'mixed', 'underdamped', 'inertial drift', 'beyond the edge']
    """

    noise: float
    curvature: float
    eigenvalues: ArrayLike
    coupling: float = 0.0
    edge_kappa: float | None = None
    explicit_curvature: float = 0.0
    target: float | None = None
    band: float | None = None
    largest_eigenvalue: float | None = None
    nesterov: bool = False
    effective_coupling: float = field(init=False, repr=False)
    top_eigenvalue: float = field(init=False, repr=False)
    rule: MomentumRule = field(init=False, repr=False)
    critical: MomentumRule = field(init=False, repr=False)

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        modes = np.atleast_1d(check_positive(self.eigenvalues, "eigenvalues"))
        if modes.ndim != 1 or not modes.size:
            raise InputError("eigenvalues", f"shape {modes.shape}", "shape (n,), n >= 1")
        put("eigenvalues", modes)
        for name in ("noise", "curvature", "coupling", "explicit_curvature"):
            put(name, check_one(check_size, getattr(self, name), name))
        for name in ("edge_kappa", "band", "largest_eigenvalue"):
            if getattr(self, name) is not None:
                put(name, check_one(check_positive, getattr(self, name), name))
        if self.band is not None and self.band > _WIDEST:
            raise InputError("band", self.band, f"a number > 0, at most {_WIDEST:g}")
        if self.edge_kappa is not None and self.coupling:
            raise InputError("edge_kappa", "edge_kappa and coupling", "at most one of the two")
        edge = self.edge_kappa
        put("effective_coupling", self.coupling if edge is None else self.curvature + 2 / edge)  # the g whose edge it is
        put("top_eigenvalue", max(float(modes.max()), self.largest_eigenvalue or 0.0))
        put("nesterov", bool(self.nesterov))
        force = self.noise, self.curvature, self.explicit_curvature
        put("rule", MomentumRule.from_geometry(*force, target=self.target))
        put("critical", MomentumRule.from_geometry(*force))

    @classmethod
    @by_annotations
    def of_point(
        cls,
        point: ManifoldPoint,
        displacement: Array,
        noise: float,
        *,
        explicit_curvature: float = 0.0,
        target: float | None = None,
        band: float | None = None,
        nesterov: bool = False,
    ) -> PhaseDiagram:
        """The diagram at a flattest point, for motion along the tangent part of `displacement` (N,).

        Raises InputError for a value out of range or a displacement that is normal to Gamma.
        """
        return cls(
            noise,
            point.curvature(displacement),
            point.eigenvalues,
            coupling=point.coupling(displacement),
            explicit_curvature=explicit_curvature,
            target=target,
            band=band,
            nesterov=nesterov,
        )

    @classmethod
    @by_annotations
    def of_predictor(
        cls, predictor: EffectiveLossPredictor, *, explicit_curvature: float = 0.0, band: float | None = None
    ) -> PhaseDiagram:
        """The diagram of a problem and start; mu and target are those of the predictor's closed form.

        m and g of the edge are taken in the direction in which the drift arrives at the flattest point, mu along the whole
        displacement. The start's largest eigenvalue counts for stability too.
        """
        path = predictor.path
        end = path.flattest
        edge = float(formulas.stability_edge_kappa(end.curvature(path.arrival), end.coupling(path.arrival)))
        return cls(
            predictor.noise,
            path.curvature,
            end.eigenvalues,
            edge_kappa=edge if np.isfinite(edge) else None,
            explicit_curvature=explicit_curvature,
            target=path.amplitude,
            band=band,
            largest_eigenvalue=float(ManifoldPoint(path.problem, path.start).eigenvalues[0]),
            nesterov=predictor.nesterov,
        )

    # -- at any (lr, 1 - beta); the arguments broadcast ---------------------------------------------

    @by_annotations
    def regime(self, lr: ArrayLike, one_minus_beta: ArrayLike) -> NDArray[np.int8]:
        """Code of the regime, its index in REGIMES; int8, of the broadcast shape."""
        rate, delta = self._check(lr, one_minus_beta)
        discriminant = formulas.nesterov_discriminant if self.nesterov else formulas.heavy_ball_discriminant
        under = [discriminant(rate, eigenvalue, delta) < 0 for eigenvalue in np.unique(self.eigenvalues)]
        code = np.where(np.all(under, axis=0), 2, np.where(np.any(under, axis=0), 1, 0))
        code = np.where(delta < self._critical(rate), 3, code)
        code = np.where(self._margin(rate, delta) < 0, 4, code)
        return np.where(self._unstable(rate, delta), 5, code).astype(np.int8)

    @by_annotations
    def transverse(self, lr: ArrayLike, one_minus_beta: ArrayLike) -> Floats:
        """tau_perp of the slowest normal mode, in steps [theory: Relaxation, eq. 2.3]; inf where a mode is unstable."""
        rate, delta = self._check(lr, one_minus_beta)
        # the larger multiplier falls with the eigenvalue, then rises: the slowest mode is the first or the last
        ends = np.min(self.eigenvalues), np.max(self.eigenvalues)
        times = [timescales(rate, one_minus_beta=delta, eigenvalue=e, nesterov=self.nesterov).transverse for e in ends]
        return np.where(self._unstable(rate, delta), np.inf, np.maximum(*times))

    @by_annotations
    def longitudinal(self, lr: ArrayLike, one_minus_beta: ArrayLike) -> Floats:
        """tau_par = delta / k(delta), in steps; without h it is 4 delta^2 / (eta^2 c mu) [theory: Drift, eq. 3.8].

        It holds while the motion along Gamma is overdamped; `convergence` holds in the inertial regime too.
        """
        rate, delta = self._check(lr, one_minus_beta)
        return np.asarray(delta / self._stiffness(rate, delta))

    @by_annotations
    def convergence(self, lr: ArrayLike, one_minus_beta: ArrayLike) -> Floats:
        """Relaxation time of the slowest motion, in steps per factor e; inf beyond the edge and where a normal mode is unstable.

            max(tau_perp, 1 / (delta r)),  r = min -Re of the roots of (r^2 + r + k / delta^2) (r + 1) - kappa g r / 2 = 0

        [theory: Price of speed, eq. 9.2]. Without coupling the second time is delta / k far above critical damping, and
        2 / delta for inertial motion along Gamma. It is asymptotic: near the edge a target can be reached in less.
        """
        rate, delta = self._check(lr, one_minus_beta)
        # the cubic depends on kappa m and kappa g alone: with kappa = 1 it has no division by a vanishing noise
        speed = delta * formulas.critical_decay_rate(1.0, *self._pulls(rate, delta))
        with np.errstate(divide="ignore"):
            along = np.where(speed > 0, 1 / speed, np.inf)
        return np.maximum(along, self.transverse(rate, delta))

    # -- lines --------------------------------------------------------------------------------------

    @by_annotations
    def optimum(self, lr: ArrayLike) -> Floats:
        """The best 1 - beta, at most 1, by `MomentumRule.from_geometry` [theory: Forces, eq. 6.2]."""
        return np.asarray(self.rule.one_minus_beta(lr))

    @by_annotations
    def optimum_band(self, lr: ArrayLike) -> tuple[Floats, Floats]:
        """(low, high) of the optimum's band, at most 1."""
        best = self.optimum(lr)
        if self.band is None:
            return best, np.asarray(self.critical.one_minus_beta(lr))
        factor = np.float64(1 + self.band)
        return np.asarray(best / factor), np.asarray(np.minimum(best * factor, 1.0))

    @by_annotations
    def edge(self, lr: ArrayLike) -> Floats:
        """1 - beta of the stability edge; 0: none; it may exceed 1 [theory: Price of speed, eq. 9.6]."""
        rate = check_lr(lr)
        high = formulas.one_minus_beta_at_kappa(rate, self.noise, self._edge_kappa)
        if self.explicit_curvature == 0 or not high.any():
            return high
        # h only stabilises: the edge lies below that of h = 0, and delta^3 times the margin grows with delta
        low = high * 1e-12
        for _ in range(_BISECTIONS):
            middle = np.sqrt(low * high)
            beyond = self._margin(rate, middle) < 0
            low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
        return high

    @by_annotations
    def stable_lr(self, one_minus_beta: ArrayLike) -> Floats:
        """The least learning rate at which a normal mode is unstable [theory: Relaxation, eq. 2.5; Relaxation, eq. 2.6]."""
        delta = check_one_minus_beta(one_minus_beta)
        limit = formulas.nesterov_stability_limit if self.nesterov else formulas.heavy_ball_stability_limit
        return np.asarray(limit(delta) / self.top_eigenvalue)

    # -- tidy data ----------------------------------------------------------------------------------

    @by_annotations
    def dataset(self, lr: ArrayLike | None = None, one_minus_beta: ArrayLike | None = None) -> xr.Dataset:
        """The whole diagram over (lr, one_minus_beta), with units and settings.

        Args:
            lr: learning rates, increasing, (n,); None: 1e-5 to 1
            one_minus_beta: increasing, (m,); None: from a third of the lowest line to 1

        Variables: `regime` (codes; attribute flag_meanings), `transverse`, `longitudinal`, `convergence` in steps over both;
        `optimum`, `optimum_low`, `optimum_high`, `edge` over lr; `stable_lr` over one_minus_beta.

        Raises InputError for a value out of range or not increasing.
        """
        rate = _axis(check_lr(np.geomspace(1e-5, 1.0, N_GRID) if lr is None else lr), "lr")
        low, high = self.optimum_band(rate)
        edge = self.edge(rate)
        if one_minus_beta is None:
            one_minus_beta = np.geomspace(min(x[x > 0].min() for x in (low, edge) if x.any()) / 3, 1.0, N_GRID)
        delta = _axis(np.asarray(one_minus_beta, dtype=np.float64), "one_minus_beta")
        both, at = ("lr", "one_minus_beta"), (rate[:, None], delta)
        codes = {"flag_values": np.arange(len(REGIMES), dtype=np.int8), "flag_meanings": ", ".join(REGIMES), "units": "1"}

        def about(text: str, units: str = "1") -> dict[str, str]:
            return {"long_name": text, "units": units}

        return xr.Dataset(
            {
                "regime": (both, self.regime(*at), {"long_name": "regime", **codes}),
                "transverse": (
                    both,
                    self.transverse(*at),
                    about("tau_perp of the slowest normal mode", "steps"),
                ),
                "longitudinal": (
                    both,
                    self.longitudinal(*at),
                    about("tau_par = delta / k(delta)", "steps"),
                ),
                "convergence": (both, self.convergence(*at), about("steps per factor e of the slowest motion", "steps")),
                "optimum": ("lr", self.optimum(rate), about("best 1 - momentum")),
                "optimum_low": ("lr", low, about("lower end of the optimum's band")),
                "optimum_high": ("lr", high, about("upper end of the optimum's band")),
                "edge": (
                    "lr",
                    edge,
                    about("1 - momentum of the stability edge, below which the mean leaves the flattest point; 0: none"),
                ),
                "stable_lr": (
                    "one_minus_beta",
                    self.stable_lr(delta),
                    about("lr from which a normal mode is unstable"),
                ),
            },
            coords={
                "lr": ("lr", rate, about("learning rate")),
                "one_minus_beta": ("one_minus_beta", delta, about("1 - momentum")),
            },
            attrs=self.settings(),
        )

    def settings(self) -> dict[str, object]:
        """The diagram's arguments as netCDF attributes; NaN for one not given."""

        def number(value: float | None) -> float:
            return np.nan if value is None else float(value)

        return {
            "noise": self.noise,
            "curvature": self.curvature,
            "eigenvalues": self.eigenvalues,
            "coupling": self.effective_coupling,
            "edge_kappa": float(self._edge_kappa),
            "explicit_curvature": self.explicit_curvature,
            "target": number(self.target),
            "band": number(self.band),
            "largest_eigenvalue": self.top_eigenvalue,
            "nesterov": int(self.nesterov),
            "version": __version__,
        }

    # -- the formulas with the diagram's numbers --------------------------------------------------------------------

    def _check(self, lr: ArrayLike, one_minus_beta: ArrayLike) -> tuple[Floats, Floats]:
        delta = check_one_minus_beta(one_minus_beta)
        rate = check_lr(lr)
        try:
            np.broadcast_shapes(rate.shape, delta.shape)
        except ValueError:
            shapes = f"lr {rate.shape}, one_minus_beta {delta.shape}"
            raise InputError("shapes", shapes, "shapes that broadcast together") from None
        return rate, delta

    def _unstable(self, lr: Floats, delta: Floats) -> NDArray[np.bool_]:
        return np.asarray(lr >= self.stable_lr(delta))

    @property
    def _edge_kappa(self) -> Floats:
        return formulas.stability_edge_kappa(self.curvature, self.effective_coupling)

    def _critical(self, lr: Floats) -> Floats:
        """1 - beta of critical damping along Gamma, not clamped to 1."""
        return formulas.critical_one_minus_beta(lr, self.noise, self.curvature, self.explicit_curvature, 1.0)

    def _stiffness(self, lr: Floats, delta: Floats) -> Floats:
        return formulas.longitudinal_stiffness(lr, delta, self.noise, self.curvature, self.explicit_curvature)

    def _pulls(self, lr: Floats, delta: Floats) -> tuple[Floats, Floats]:
        """k / delta^2, which is kappa m with h's share, and kappa g: the coefficients of the cubic of the decay rates."""
        kappa = formulas.critical_kappa(lr, delta, self.noise)
        return np.asarray(self._stiffness(lr, delta) / delta**2), np.asarray(kappa * self.effective_coupling)

    def _margin(self, lr: Floats, delta: Floats) -> Floats:
        return formulas.stability_margin(1.0, *self._pulls(lr, delta))


def _axis(values: Floats, name: str) -> Floats:
    if values.ndim != 1 or not values.size or np.any(np.diff(values) <= 0):
        raise InputError(name, f"shape {values.shape}", "an increasing list of numbers")
    return values
