"""Meanings of the letters in a derivation: from its own table, then from the theory's; a letter in neither is an error."""

from __future__ import annotations

import re

import sympy as sp

from .formula import Derivation, plain
from .symbols import LETTERS, SYMBOLS, letter

GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "zeta": "ζ", "eta": "η", "theta": "θ", "kappa": "κ", "lambda": "λ",
    "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "chi": "χ", "psi": "ψ",
    "omega": "ω", "epsilon": "ε", "Gamma": "Γ", "Sigma": "Σ", "Omega": "Ω", "oo": "∞",
}  # fmt: skip

_TOKEN = re.compile(r"(?<![A-Za-z_\d'])([A-Za-z]+(?:_(?:\{[^}]*\}|[A-Za-z\d]+))?\d*)(?![A-Za-z\d])")
_KNOWN = {"oo", "pi", "i"}  # of mathematics at large
_ARTICLE = re.compile(r"\ba (?=[a-z])")
_PRIME = re.compile(r"[A-Za-z)\d]'(?!s\b)")


def letters(claim: str) -> set[str]:
    """The letters of a claim that need a meaning: single ones, Greek names, those with an index; "'" for a derivative."""
    words = _ARTICLE.sub("", claim)
    tokens = _TOKEN.findall(words)
    tokens += [token[1:] for token in tokens if token[0] == "d" and token[1:]]  # dV, dlambda
    found = {token for token in tokens if _is_symbol(token)}
    return (found | ({"'"} if _PRIME.search(words) else set())) - _KNOWN


def _is_symbol(token: str) -> bool:
    base = token.split("_")[0].rstrip("0123456789")
    return base != "sum" and (len(base) == 1 or base in GREEK or "_" in token)


def used(derivation: Derivation) -> tuple[set[sp.Symbol], set[str]]:
    """The symbols in the steps and arguments of a derivation, and the letters of its claims."""
    symbols = {argument for formula in derivation.formulas for argument in formula.arguments}
    for step in derivation.steps:
        for side in (step.left, step.right):  # the variable of a limit is not free; "+" and "-" are its directions
            symbols |= {symbol for symbol in plain(side).atoms(sp.Symbol) if symbol.name not in "+-"}
    return symbols, {name for step in derivation.steps for name in letters(step.claim)}


def definitions(derivation: Derivation) -> list[tuple[str, str]]:
    """(letter, meaning) of all that the steps use: the library's arguments, the theory's letters, the derivation's own."""
    symbols, names = used(derivation)
    own = {letter(key) if isinstance(key, sp.Symbol) else key: meaning for key, meaning in derivation.symbols.items()}
    # a single letter of a claim may mean anything: only the argument itself says that it is meant
    clear = {q.letter for q in SYMBOLS.values() if len(q.letter) > 1 or q.letter == "c"} - {*own, *LETTERS}
    arguments = {s: q for s, q in SYMBOLS.items() if s in symbols or q.letter in names & clear}
    taken = set(own) | {quantity.letter for quantity in arguments.values()}
    names |= {symbol.name for symbol in symbols if symbol not in SYMBOLS}
    rows = [(q.letter, f"`{s}`: {_without_letter(str(q), q.letter)}") for s, q in arguments.items()]
    rows += [(name, _without_letter(str(q), name)) for name, q in LETTERS.items() if name in names and name not in taken]
    return rows + list(own.items())


def undefined(derivation: Derivation) -> list[str]:
    """Letters in the steps that nothing defines; empty for a derivation that can be read."""
    return sorted(_all_letters(derivation) - {name for name, _ in definitions(derivation)})


def unused(derivation: Derivation) -> list[str]:
    """Letters that the derivation defines and its steps do not use."""
    own = {letter(key) if isinstance(key, sp.Symbol) else key for key in derivation.symbols}
    return sorted(own - _all_letters(derivation))


def _all_letters(derivation: Derivation) -> set[str]:
    symbols, names = used(derivation)
    return names | {letter(symbol) for symbol in symbols}


def _without_letter(row: str, name: str) -> str:
    return row.removeprefix(name).removeprefix(", ").strip()
