"""The sections of docs/theory.md and its numbered equations, as values: a reference to one that does not exist is an error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum


class Section(Enum):
    """A section of docs/theory.md: its number, its name, the rest of its heading, and, if nothing is derived, why.

    >>> Section.CRITICAL_LIMIT.title
    'Critical limit'
    >>> Section.SETTING.heading, Section.SETTING.anchor
    ('1. Setting', '1-setting')
    """

    SETTING = 1, "Setting", "", "these are definitions. The simulator: `tests/test_label_noise_sgd.py`"
    RELAXATION = 2, "Relaxation", "how fast a normal mode forgets, and how far it fluctuates"
    DRIFT = 3, "Drift", "how the fluctuations push w along Gamma"
    CROSSING = 4, "Crossing", "where the two timescales meet"
    EFFECTIVE_LOSS = 5, "Effective loss", "the noise-free equivalent and its best momentum"
    FORCES = 6, "Forces", "one equation for every push along Gamma"
    CRITICAL_LIMIT = 7, "Critical limit", "the reduced dynamics as the learning rate goes to zero"
    FINITE_LEARNING_RATE = 8, "Finite learning rate", "what the limits leave out"
    PRICE_OF_SPEED = 9, "Price of speed", "what fluctuates when all has settled"
    MOMENT_CLOSURE = (
        10,
        "Moment closure",
        "mean and covariance without sampling",
        "a recursion, checked against exact laws and simulation in `tests/test_moment_closure.py`",
    )
    WAYS_TO_PREDICT = 11, "Ways to predict", "from the cheapest to the most faithful"
    AVERAGES = 12, "Averages of gradients", "dampened momentum and Adam"
    INTERPOLATION = 13, "Interpolation", "mini-batches without label noise"

    def __init__(self, number: int, title: str, subtitle: str, underived: str = "") -> None:
        self.number = number
        self.title = title
        """The name by which references know it."""
        self.subtitle = subtitle
        self.underived = underived
        """Why there is no derivation, and what checks the section; empty where there is one."""

    @property
    def heading(self) -> str:
        """The heading in docs/theory.md, without its hashes."""
        return f"{self.number}. {self.title}" + (f": {self.subtitle}" if self.subtitle else "")

    @property
    def anchor(self) -> str:
        """The fragment of a link to the heading."""
        return re.sub(r"[^\w\- ]", "", self.heading.lower()).replace(" ", "-")


@dataclass(frozen=True)
class Equation:
    """A numbered equation of docs/theory.md.

    >>> str(Equation(Section.CRITICAL_LIMIT, 2))
    '[theory: Critical limit, eq. 7.2]'
    """

    section: Section
    place: int

    def __post_init__(self) -> None:
        if not isinstance(self.section, Section):
            raise TypeError(f"section: given {self.section!r}; allowed: a Section")

    @property
    def number(self) -> str:
        """As it stands on the page."""
        return f"{self.section.number}.{self.place}"

    def __str__(self) -> str:
        return f"[theory: {self.section.title}, eq. {self.number}]"
