"""docs/glossary.md: every symbol and word of the theory, written from the tables here and in `derivations.symbols`."""

from __future__ import annotations

from collections.abc import Mapping

from .sections import Section
from .symbols import LETTERS, SYMBOLS, Quantity

WORDS: Mapping[Section, Mapping[str, str]] = {
    Section.SETTING: {
        "label noise": "fresh random errors in the labels at every step; strength c = sigma^2 / B",
        "interpolating": "fitting every label exactly: f(w) = y, so that w is a point of Gamma",
        "manifold of minimizers": "Gamma, all w that fit the data exactly",
        "along, across Gamma": "in the tangent space of Gamma, and in its normal space: the span of the gradients of all outputs",
        "heavy ball": "momentum with the gradient at w: `torch.optim.SGD(momentum=beta)`",
        "Nesterov momentum": "momentum with the gradient at the look-ahead point w + beta v",
    },
    Section.RELAXATION: {
        "normal mode": "the displacement along one eigenvector of H across Gamma: an oscillator driven by noise",
        "overdamped, underdamped": "with real multipliers, and with complex ones: a mode that creeps back, one that swings",
        "first phase": "the descent from an ordinary start to Gamma, before any drift along it",
    },
    Section.DRIFT: {
        "flat, flatness": "small tr H; the flattest point is a local minimum of tr H on Gamma",
        "drift": "the slow motion along Gamma that the fluctuations across it cause",
        "drift flow": "the drift without fluctuations at small learning rate, dY/dt = -(1/4) grad_Gamma tr H",
        "valley": "a model problem: one direction theta along a straight Gamma, eigenvalues lambda_j(theta) across it",
    },
    Section.CROSSING: {
        "timescales": "tau_perp, the relaxation time across Gamma, and tau_par, that of the drift along it",
    },
    Section.EFFECTIVE_LOSS: {
        "interpolating start": "a start on Gamma, without noise before: the normal modes are empty",
        "prefactor": "C in 1 - beta = C lr^(2/3)",
        "closed form": "1 - beta = (c mu zeta^2)^(1/3) lr^(2/3), no closer to 1 - beta = 0 than the fluctuations allow",
        "lag": "of the energies: a mode keeps sqrt(lambda) E x^2 while lambda changes, and fills at the rate delta",
        "critical damping": "the least damping without overshoot, delta^2 = 4 k(delta)",
    },
    Section.FORCES: {
        "stiffness": "k, the restoring force along Gamma per displacement and step squared",
        "explicit force": "a force along Gamma whose stiffness does not depend on momentum: weight decay, a regulariser",
    },
    Section.CRITICAL_LIMIT: {
        "energy": "of a normal mode: lambda times its mean squared displacement, in units of eta c / (2 delta)",
        "critical limit": "training as lr -> 0 at fixed kappa, so at 1 - beta = C lr^(2/3): a stochastic differential equation",
        "universal curve": "scaled time tau to a target against scaled damping D; one curve serves every lr and c",
        "needed momentum": "the least that is fast enough: the largest 1 - beta of a time at most 15 % above the shortest",
        "cliff": "the steep side of the time against momentum: a little more momentum than the best, and the target is missed",
    },
    Section.FINITE_LEARNING_RATE: {
        "pair in step": "two modes whose frequencies differ by less than about delta: their product has a mean",
    },
    Section.PRICE_OF_SPEED: {
        "coupling": "g, how strongly eigenvalues change along Gamma at the flattest point",
        "vanishing mode": "one whose eigenvalue is 0 at the flattest point, where J loses rank; it counts 2 lambda'' in g",
        "edge": "the stability edge, 2 + eta h / delta^2 + kappa (m - g) = 0: beyond it the mean leaves the flattest point",
        "price": "of speed: how far tr H stays above its flattest value at a momentum when all has settled",
    },
    Section.MOMENT_CLOSURE: {
        "moment closure": "the recursion of mean and covariance of (w, v), w taken as Gaussian",
    },
    Section.WAYS_TO_PREDICT: {
        "transfer": "a tuned pair (lr0, momentum0) moved to another lr by lr^(2/3)",
        "target": "when training counts as done: the mean of a metric stays below a fraction of its start",
        "way": "a method of predicting the best momentum",
        "regret": "time at the recommended momentum over the shortest time measured",
    },
}
"""Words by the section of docs/theory.md that introduces them."""

SIMULATION: Mapping[str, str] = {
    "run": "one trajectory of a dynamics, for one learning rate, momentum and seed",
    "path": "one sample path of an ensemble of a stochastic differential equation",
    "sample": "one training sample",
    "clock": "what time counts: steps k, or t, s, tau of [theory: Setting, eq. 1.6]",
    "record times": "the times at which metrics or moments are taken",
    "course": "the mean of a metric against time",
    "diverged": "a run that became infinite, or that could not be brought back to Gamma",
    "faulty": "a path that is not finite, or that left a domain which it may not leave: it is left out and counted",
    "lane": "the place of a run or a path in a vector register",
    "chunk": "the runs or paths of one job, which run together and whose results are stored or merged together",
    "block": "the lanes of one call of a compiled kernel",
}
"""Words of the simulations, which no section of the theory introduces."""


def page() -> str:
    """The text of docs/glossary.md."""
    rows = sorted([*((q, str(s)) for s, q in SYMBOLS.items()), *((q, "") for q in LETTERS.values())], key=_place)
    words = [(word, meaning, section) for section, mine in WORDS.items() for word, meaning in mine.items()]
    lines = [
        "# Glossary",
        "",
        "Written by `python -m derivations` from `derivations/symbols.py` and `derivations/glossary.py`: do not edit.",
        "A symbol that stands twice has two meanings; each section of [theory.md](theory.md) says which it uses.",
        "",
        "## Symbols",
        '"Curvature" as a unit is loss / parameter^4. A pure number has no unit.',
        "",
        "| symbol | meaning | unit | range | argument | section |",
        "| --- | --- | --- | --- | --- | --- |",
        *(_row(q, name) for q, name in rows),
        "",
        "## Words",
        "| word | meaning | section |",
        "| --- | --- | --- |",
        *(f"| {word} | {_cell(meaning)} | {_link(section)} |" for word, meaning, section in sorted(words, key=_word)),
        "",
        "## Words of the simulations",
        "| word | meaning |",
        "| --- | --- |",
        *(f"| {word} | {_cell(meaning)} |" for word, meaning in sorted(SIMULATION.items())),
    ]
    return "\n".join(lines) + "\n"


def _place(row: tuple[Quantity, str]) -> int:
    return row[0].section.number


def _word(row: tuple[str, str, Section]) -> str:
    return row[0].lower()


def _row(quantity: Quantity, argument: str) -> str:
    named = f"`{argument}`" if argument else ""
    cells = (quantity.letter, quantity.meaning, quantity.unit, quantity.allowed, named)
    return "| " + " | ".join(map(_cell, cells)) + f" | {_link(quantity.section)} |"


def _cell(text: str) -> str:
    """Text in a table: a bar would end the cell, an asterisk would be emphasis."""
    return text.replace("|", r"\|").replace("*", r"\*")


def _link(section: Section) -> str:
    return f"[{section.title}](theory.md#{section.anchor})"
