"""What a momentum finder found: the momentum, how the losses compare, and the rule through that pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...core.extras import require
from ...predictors.momentum_rule import MomentumRule
from .doubts import doubts_of
from .lengths import COOL_DOWN

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FoundMomentum:
    """The momentum that `find_momentum` recommends, and what it rests on.

    Attributes:
        lr: learning rate of the first group, for which it was sought
        one_minus_beta: the recommended 1 - beta
        low, high: least and largest 1 - beta tried that 97.5 % do not show to be worse than the best
        tried: 1 - beta of all trials, increasing, (n,)
        score: mean over seeds of what was compared, smaller is better, (n,); inf for a lost trial, NaN for one that was stopped,
            being clearly behind one with more momentum
        excess, excess_se: ln of the score over that of the best (their difference where one is not positive), and its standard
            error over batches or seeds, (n,); NaN where unknown
        losses: loss of every step, also of those at lr 0 after a cool-down, (n, seeds, steps); NaN from where a trial ended early
        fall: by how much the logarithm of the best trial's loss falls in the steps of a trial, at its end; 0 where it does not,
            and where lr falls
        cliff: largest 1 - beta below the recommended one whose trial was lost; None where none was
        present: the momentum that the optimizer had
        n_steps: length of a trial
        n_usual: what it would have been without a budget
        n_training: length of the training, where the schedule tells it; None elsewhere
        anneal: whether lr fell to 0 at the end of each
        measure: what was compared, in words
        seconds: time that the trials took
        rule: 1 - beta at other learning rates, through this pair
    """

    lr: float
    one_minus_beta: float
    low: float
    high: float
    tried: Floats
    score: Floats
    excess: Floats
    excess_se: Floats
    losses: Floats
    fall: float
    cliff: float | None
    present: float
    n_steps: int
    n_usual: int
    n_training: int | None
    anneal: bool
    measure: str
    seconds: float
    rule: MomentumRule

    @property
    def momentum(self) -> float:
        """The recommended momentum."""
        return 1 - self.one_minus_beta

    @property
    def doubts(self) -> tuple[str, ...]:
        """What makes the answer doubtful, in words, with the options that would settle it; none where nothing does."""
        return tuple(doubts_of(self))

    def __str__(self) -> str:
        n, seeds = self.losses.shape[:2]
        many = "" if seeds == 1 else f" x {seeds} seeds"
        cooled = f", lr to 0 over the last {self.cool_down:.0%}" if self.anneal else ", lr constant"
        best, mine = np.nanmin(self.score), int(np.argmin(np.abs(np.log(self.tried / self.one_minus_beta))))
        lines = [f"doubtful: {doubt}" for doubt in self.doubts]
        lines += [
            f"momentum {self.momentum:.4g} at lr {self.lr:.4g} (1 - beta {self.one_minus_beta:.3g}; as good {self._range})",
            f"from {n} momenta{many}, {self.n_steps} steps each on the same batches{cooled}; {self.seconds:.0f} s",
            f"{self.measure}: {self.score[mine]:.4g}, best {best:.4g}{self._present()}",
            f"cliff: lost at momentum {1 - self.cliff:.4g} and above" if self.cliff else "cliff: none seen",
            f"at other learning rates: {self.rule.explain(self.lr / 10)}",
        ]
        return "\n".join(lines)

    @property
    def _range(self) -> str:
        return f"from {self.low:.3g} to {self.high:.3g}"

    @property
    def cool_down(self) -> float:
        """Part of a trial in which lr falls to 0; 0 for none."""
        return COOL_DOWN if self.anneal else 0.0

    def _present(self) -> str:
        i = int(np.argmin(np.abs(self.tried - (1 - self.present))))
        if not np.isclose(self.tried[i], 1 - self.present):
            return ""
        value = f"{self.score[i]:.4g}"
        value = {"inf": "lost", "nan": "stopped, clearly behind"}.get(value, value)
        return f", at the present momentum {self.present:.4g}: {value}"

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers, strings and lists; None for an infinite or unknown number."""
        names = (
            *("lr", "momentum", "one_minus_beta", "low", "high", "cliff", "present"),
            *("n_steps", "n_usual", "n_training", "anneal", "fall", "measure"),
        )
        plain = {name: getattr(self, name) for name in (*names, "seconds")}
        arrays = {name: [_plain(x) for x in getattr(self, name)] for name in ("tried", "score", "excess", "excess_se")}
        return plain | arrays | {"doubts": list(self.doubts), "rule": self.rule.source}

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw the score against 1 - beta with 95 % bars against the best, the recommendation and the cliff; needs matplotlib."""
        require("FoundMomentum.plot", "matplotlib")
        from matplotlib.figure import Figure

        if axes is None:
            axes = Figure(figsize=(6.4, 4.2), layout="constrained").add_subplot()
        met = np.isfinite(self.score)
        bars = 2 * np.nan_to_num(self.excess_se[met]) * self.score[met]
        axes.errorbar(self.tried[met], self.score[met], bars, fmt="o-", color="#0072B2", capsize=2, label="trials")
        for ended, name, color in ((np.isinf(self.score), "lost", "#D55E00"), (np.isnan(self.score), "stopped: behind", "0.5")):
            if ended.any():
                axes.plot(self.tried[ended], np.full(ended.sum(), self.score[met].max()), "x", color=color, label=name)
        if self.cliff:
            axes.axvspan(self.tried.min() / 1.2, self.cliff, color="0.9", lw=0, label="beyond the cliff")
        axes.axvspan(self.low, self.high, color="#009E73", alpha=0.15, lw=0, label="as good")
        axes.axvline(self.one_minus_beta, color="#009E73", lw=2, label=f"recommended: momentum {self.momentum:.3g}")
        axes.set(xscale="log", xlabel="1 - momentum", ylabel=self.measure, title=f"lr {self.lr:.4g}, {self.n_steps} steps")
        axes.legend(fontsize=9)
        return axes


def _plain(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None
