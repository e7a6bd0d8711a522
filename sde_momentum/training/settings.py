"""Settings of `estimate_timescales`: sizes of samples and accuracies; needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import check_integer, check_non_negative, check_one, check_positive


@dataclass(frozen=True)
class EstimatorSettings:
    """How accurately `estimate_timescales` measures a model, and at what cost.

    Attributes:
        n_samples: number of samples to use, drawn at random; None for all. Gamma is that of these samples
        n_targets: largest number of targets to use where a sample has many (tokens, pixels), drawn at random from all
        n_probes: number of random probes for tr H, and for mu; from P, the number of outputs, on both are exact
        n_draws: number of batch gradients for the noise strength c
        n_eigenvalues: number of leading eigenvalues of H
        n_lanczos: number of Lanczos steps for them
        rank_tolerance: singular value of J over the largest below which a direction counts as tangent, for modes so soft do not
            relax during training; the cut-off is smooth
        tolerance: relative residual at which conjugate gradients stop in projections onto the tangent space;
            None: 1e-4 in single, 1e-8 in double precision. Up to 256 outputs the solution is direct
        max_iterations: largest number of iterations of a projection
        chunk_size: number of samples evaluated together; memory grows with it
        vary: measure mu in other ways too, for the range of 1 - beta; it doubles the cost

    Raises:
        InputError: for a value out of range.
    """

    n_samples: int | None = None
    n_targets: int = 1024
    n_probes: int = 64
    n_draws: int = 64
    n_eigenvalues: int = 5
    n_lanczos: int = 30
    rank_tolerance: float = 1e-3
    tolerance: float | None = None
    max_iterations: int = 500
    chunk_size: int = 128
    vary: bool = True

    def __post_init__(self) -> None:
        check_one(check_positive, self.rank_tolerance, "rank_tolerance")
        if self.tolerance is not None:
            check_one(check_non_negative, self.tolerance, "tolerance")
        if self.n_samples is not None:
            check_integer(self.n_samples, "n_samples", 1)
        for name, least in (
            ("n_targets", 1),
            ("n_probes", 2),
            ("n_draws", 2),
            ("n_eigenvalues", 1),
            ("n_lanczos", self.n_eigenvalues),
            ("max_iterations", 1),
            ("chunk_size", 1),
        ):
            check_integer(getattr(self, name), name, least)


#: Few samples and probes, inaccurate projections: tr H and mu to some ten percent.
QUICK = EstimatorSettings(
    n_samples=256, n_targets=256, n_probes=8, n_draws=8, n_eigenvalues=2, n_lanczos=8, tolerance=1e-2, max_iterations=20
)
