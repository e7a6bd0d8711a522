r"""Formulas of the pages, which are written in plain text as in the docstrings, as LaTeX: `eta^(2/3)` is `\eta^{2/3}`.

`latex` translates one formula, `inside` finds the formulas within words. What cannot be read raises `Unreadable`, so that a page
shows its plain text rather than something else. A product is written by a space; `/` divides the product before it by the one
factor after it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

GREEK = (
    "alpha|beta|gamma|delta|zeta|eta|theta|kappa|lambda|mu|nu|xi|"
    "pi|rho|sigma|tau|phi|chi|psi|omega|epsilon|Gamma|Sigma|Omega|Delta"
)
FUNCTIONS = {"ln": r"\ln", "exp": r"\exp", "max": r"\max", "min": r"\min", "sqrt": r"\sqrt", "cos": r"\cos", "sin": r"\sin"}
PREFIXES = {"grad": r"\nabla", "hess": r"\nabla^2", "sum": r"\sum", "tr": r"\operatorname{tr}", "Re": r"\operatorname{Re}"}
PREFIXES |= {"Cov": r"\operatorname{Cov}", "E": r"\mathbb{E}"}
INDICES = {"perp": r"\perp", "par": r"\parallel", "T": "T"}
RELATIONS = {"=": "=", "<": "<", ">": ">", "<=": r"\le", ">=": r"\ge", "~": r"\sim"}
RELATIONS |= {"->": r"\to", "<-": r"\leftarrow", "!=": r"\ne"}
UNITS = {"parameter", "loss", "curvature"}
OPENING, CLOSING = {"(": ")", "[": "]", "{": "}"}, {")": "(", "]": "[", "}": "{"}

_TOKEN = re.compile(
    r"(?P<word>[A-Za-z]{2,}(?:-[a-z]{2,})+|[A-Za-z]+'s\b(?!\w))"
    r"|(?P<name>[A-Za-z]+\d*\*?(?=[^\w*]|_|$))"
    r"|(?P<number>\d+(?:[.,]\d+)*(?:e-?\d+)?)"
    r"|(?P<index>_(?:\{[^{}]*\}|[A-Za-z0-9]+))"
    r"|(?P<dots>\.\.\.)|(?P<relation><=|>=|->|<-|!=|[=<>~])|(?P<prime>'+)|(?P<sign>[-+±−]|/|\^|\||\.|,|;|:|[()\[\]{}])"
)


class Unreadable(ValueError):
    """A text that is not a formula of this notation."""


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    start: int
    end: int
    spaced: int
    """Number of blanks before it."""


def tokens(text: str) -> list[Token]:
    """The parts of a text. Raises Unreadable."""
    found, at = [], 0
    while at < len(text):
        blank = re.compile(r"\s*").match(text, at)
        assert blank is not None
        start = blank.end()
        if start == len(text):
            break
        match = _TOKEN.match(text, start)
        if match is None:
            raise Unreadable(text[start:])
        found.append(Token(str(match.lastgroup), match[0], start, match.end(), start - at))
        at = match.end()
    return found


def is_word(token: Token) -> bool:
    """Whether it is a word of the language, which stands upright."""
    if token.kind == "word":
        return True
    name = token.text.rstrip("*")
    return token.kind == "name" and len(name) > 1 and _letter(name) is None and name not in FUNCTIONS and name not in PREFIXES


def _letter(name: str) -> str | None:
    """LaTeX of a letter: `eta0` is eta with an index, `dlambda` a differential; None for a word."""
    star = "^*" if name.endswith("*") else ""
    match = re.fullmatch(r"(d?)([A-Za-z]|" + GREEK + r")(\d*)", name.rstrip("*"))
    if match is None or name == "do":
        return None
    letter = f"\\{match[2]}" if len(match[2]) > 1 else match[2]
    return (r"\mathrm{d}" if match[1] else "") + letter + (f"_{{{match[3]}}}" if match[3] else "") + star


def _index(token: Token) -> str:
    inner = token.text[1:].strip("{}")
    if inner in INDICES:
        return f"_{{{INDICES[inner]}}}"
    if re.fullmatch(r"[A-Za-z]{1,2}|\d+|[a-z]\s*[-+]\s*\d", inner):
        return f"_{{{inner}}}"
    return "_{" + (_letter(inner) or _upright(inner)) + "}"


def _upright(name: str) -> str:
    return rf"\mathrm{{{name}}}"


class _Reader:
    def __init__(self, text: str, inline: bool) -> None:
        self.tokens = tokens(text)
        self.inline = inline
        self.at = 0

    def peek(self, ahead: int = 0) -> Token | None:
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else None

    def next(self) -> Token:
        token = self.peek()
        if token is None:
            raise Unreadable("the formula ends too early")
        self.at += 1
        return token

    def is_text(self, token: Token) -> bool:
        """A word, but none with a power, as in a unit."""
        after = self.peek(1)
        if token.text in UNITS and after is not None and after.text in ("/", "^", ")"):
            return False
        return self.is_article(token) or (is_word(token) and not (after is not None and after.text == "^" and not after.spaced))

    def has_hat(self) -> bool:
        """Whether a power sign follows with no power, as in u^_i."""
        sign, power = self.peek(), self.peek(1)
        if sign is None or sign.text != "^" or sign.spaced:
            return False
        return power is None or bool(power.spaced) or power.kind == "index" or power.text in ",;)"

    def between_sizes(self) -> bool:
        """Whether the token just read, an x, stands between two sizes, as in P x N."""
        before, after = (self.tokens[i] if 0 <= i < len(self.tokens) else None for i in (self.at - 2, self.at))
        return all(t is not None and re.fullmatch(r"[A-Z]|\d+", t.text) is not None for t in (before, after))

    def is_article(self, token: Token) -> bool:
        after = self.peek(1)
        if token.text != "a" or after is None or after.text in _AFTER_NO_ARTICLE:
            return False
        return bool(after.spaced) and is_word(after)

    # -- a row of terms, up to a closing sign -------------------------------------------------------------
    def row(self, closing: str | None = None) -> str:
        out: list[str] = []
        while (token := self.peek()) is not None:
            if token.text == closing:
                return " ".join(out)
            if token.kind == "relation":
                out.append(RELATIONS[self.next().text])
            elif token.text in "+-±−":
                out.append({"±": r"\pm", "−": "-"}.get(token.text, token.text))
                self.next()
            elif token.text in ",;:":
                following = self.peek(1)
                self.next()
                colon = r"\colon" if closing == "}" else r"\mathrm{:}\ "
                wide = r"\quad" if closing is None and following is not None and token.text != ":" else ""
                out.append((colon if token.text == ":" else token.text) + wide)
            elif token.kind == "dots":
                self.next()
                out.append(r"\dots")
            elif token.text == "(" and token.spaced > 1 and out:  # a remark
                out.append(r"\quad" + self.group(self.next()))
            elif token.text == ".":
                self.next()
                out.append(r"\cdot")
            elif self.is_text(token):
                words, following = self.words(), self.peek()
                if following is not None and following.text == "/":  # words over a factor
                    self.next()
                    words = rf"\frac{{{words}}}{{{_bare(self.factor(closing))}}}"
                out.append(words)
            else:
                before = self.at
                out.append(self.term(closing))
                if self.at == before:
                    raise Unreadable(token.text)
        if closing is not None:
            raise Unreadable(f"no {closing}")
        return " ".join(out)

    def words(self) -> str:
        said = []
        while (token := self.peek()) is not None and self.is_text(token):
            said.append(self.next().text)
        return rf"\text{{ {' '.join(said)} }}"

    # -- a product, with the fractions in it ----------------------------------------------------------------
    def term(self, closing: str | None) -> str:
        before: list[str] = []  # prefixes such as a sum, which act on the product after them
        product: list[str] = []
        while (token := self.peek()) is not None:
            if token.text == "/":
                self.next()
                if not product:
                    raise Unreadable("nothing is divided")
                tight = not token.spaced
                if self.inline:
                    product += ["/", self.factor(closing)]
                    continue
                below = _bare(self.factor(closing))
                above = product[-1:] if tight else product
                fraction = rf"\frac{{{_bare(above[0]) if len(above) == 1 else ' '.join(above)}}}{{{below}}}"
                product = [*product[:-1], fraction] if tight else [fraction]
            elif token.text == closing or token.kind in ("relation", "dots") or token.text in ",;:+-±−" or token.text in CLOSING:
                break
            elif token.text == ".":
                self.next()
                if (after := self.peek()) is None or after.text == closing:
                    product.append(r"\cdot")
                    continue
                before, product = [*before, *product, r"\cdot"], []
            elif self.is_text(token) or (token.text == "(" and token.spaced > 1):
                break
            elif token.text in ("sum", "grad", "hess") and (prefix := self.prefix()):
                before, product = [*before, *product, prefix], []
            elif token.text == "|" and closing == "|":
                break
            else:
                factor = self.factor(closing)
                spaced = product and factor.startswith(r"\mathrm{") and not factor.startswith(r"\mathrm{d}")
                product.append(rf"\,{factor}" if spaced else factor)
        return " ".join([*before, *product])

    def prefix(self) -> str:
        token = self.next()
        return PREFIXES[token.text] + self.attached(calls=False)

    def factor(self, closing: str | None) -> str:
        token = self.next()
        if token.text == "-":  # within an exponent or a denominator
            return "-" + self.factor(closing)
        if token.text in OPENING:
            inner = self.group(token)
            raised = self.attached()
            return inner + raised if raised or not _is_fraction(_bare(inner)) else _bare(inner)
        if token.text == "|":
            inner = self.row("|")
            self.next()
            return rf"\left|{inner}\right|" + self.attached()
        if token.kind == "number":
            return token.text.replace(",", "{,}") + self.attached(calls=False)
        if token.text == "sqrt":
            opening = self.next()
            if opening.text != "(":
                raise Unreadable("sqrt without brackets")
            inner = self.row(")")
            self.next()
            return rf"\sqrt{{{inner}}}" + self.attached()
        if token.text in FUNCTIONS or token.text in ("tr", "Re"):
            name = (FUNCTIONS | PREFIXES)[token.text] + self.attached(bars=True)
            following = self.peek()
            called = name.endswith(")") or name.endswith(r"\right|") or name.endswith("]")
            if (
                called
                or following is None
                or following.text == closing
                or following.text in "/,;:+"
                or following.kind == "relation"
            ):
                return name
            return f"{name} {self.factor(closing)}"
        if token.text in PREFIXES:
            return PREFIXES[token.text] + self.attached()
        if token.kind == "name":
            following = self.peek()
            if token.text == "x" and self.between_sizes():
                return r"\times"
            if token.text == "d" and following is not None and following.kind == "name" and following.text not in RELATIONS:
                return r"\mathrm{d}"
            letter = _letter(token.text) or _upright(token.text)
            if self.has_hat():
                self.next()
                letter = rf"\hat{{{letter}}}"
            return letter + self.attached()
        if is_word(token):
            return rf"\text{{{token.text}}}" + self.attached()
        raise Unreadable(token.text)

    def group(self, token: Token) -> str:
        inner = self.row(OPENING[token.text])
        self.next()
        left, right = {"(": ("(", ")"), "[": ("[", "]"), "{": (r"\{", r"\}")}[token.text]
        return rf"\left{left}{inner}\right{right}"

    def attached(self, calls: bool = True, bars: bool = False) -> str:
        """Indices, primes, powers and arguments that follow without a space."""
        out = ""
        while (token := self.peek()) is not None and not token.spaced:
            if token.kind == "index":
                out += _index(self.next())
            elif token.kind == "prime":
                out += self.next().text
            elif token.text == "^":
                self.next()
                out += f"^{{{self.power()}}}"
            elif token.text in ("(", "[") and calls:
                out += self.group(self.next())
            elif token.text == "|" and bars and not out:
                self.next()  # max|chi|
                out += rf"\left|{self.row('|')}\right|"
                self.next()
            else:
                break
        return out

    def power(self) -> str:
        token = self.next()
        if token.text == "(":
            inner = self.row(")")
            self.next()
            return re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"\1/\2", inner)
        if token.text == "T":
            return r"\top"
        if token.text == "-":
            return "-" + self.next().text
        if token.text == "+":
            return "+"
        return _letter(token.text) or token.text


def _is_fraction(text: str) -> bool:
    """Whether it is one fraction and no more: its bar says what brackets around it would."""
    if not text.startswith(r"\frac{"):
        return False
    depth, groups = 0, 0
    for i, character in enumerate(text):
        depth += (character == "{") - (character == "}")
        if character == "}" and depth == 0:
            groups += 1
            if groups == 2:
                return i == len(text) - 1
    return False


def _bare(text: str) -> str:
    """Without the brackets that a fraction's bar makes superfluous."""
    if not (text.startswith(r"\left(") and text.endswith(r"\right)")):
        return text
    depth = 0
    for match in re.finditer(r"\\left|\\right", text):
        depth += 1 if match[0] == r"\left" else -1
        if depth == 0 and match.end() + 1 < len(text):
            return text
    return text[len(r"\left(") : -len(r"\right)")]


def latex(text: str, inline: bool = False) -> str:
    """LaTeX of one formula; `inline`: fractions keep their slash. Raises Unreadable.

    >>> latex("1 - beta* = (c mu zeta^2)^(1/3) eta^(2/3)")
    '1 - \\\\beta^* = \\\\left(c \\\\mu \\\\zeta^{2}\\\\right)^{1/3} \\\\eta^{2/3}'
    """
    reader = _Reader(text, inline)
    written = reader.row()
    if reader.peek() is not None:
        raise Unreadable(text)
    written = re.sub(r"(?<=[^d]) \\left\((?=\\text\{)", r" \\quad\\left(", written)  # a remark in brackets
    written = re.sub(r"(?<=\()\\text\{ | (?=\}\\right\))", lambda m: m[0].rstrip() if m[0].strip() else "", written)
    return re.sub(r"\\left([(\[])([^\\(){}\[\]]{1,12}|\\[a-zA-Z]+(?:_\{\w\})?)\\right([)\]])", r"\1\2\3", written)


_AFTER_NO_ARTICLE = {"and", "is", "are", "or", "far", "of", "in", "has", "as", "with", "below", "above", "on", "at", "by", "for"}


def inside(text: str) -> list[tuple[bool, str]]:
    """Parts of a text with words, in order: (True, LaTeX) for a formula, (False, text) for the rest."""
    parts: list[tuple[bool, str]] = []
    done = 0
    for start, end in _runs(text):
        try:
            formula = latex(text[start:end], inline=True)
        except (Unreadable, KeyError):
            continue
        parts += [(False, text[done:start]), (True, formula)]
        done = end
    return [(is_formula, part) for is_formula, part in (*parts, (False, text[done:])) if part]


def _runs(text: str) -> list[tuple[int, int]]:
    """Stretches that are formulas: no words, balanced, with a Greek letter, an index, a power, or a letter on its own."""
    runs, current = [], list[Token]()
    pieces = list(_pieces(text))
    for i, token in enumerate([*pieces, None]):
        if token is not None and _mathematical(pieces, i):
            current.append(token)
            continue
        if current:
            runs += _trimmed(current)
        current = []
    return [(run[0].start, run[-1].end) for run in runs if any(_strong(run, i) for i in range(len(run)))]


def _pieces(text: str) -> list[Token]:
    found, at = [], 0
    while at < len(text):
        match = re.compile(r"\s+").match(text, at)
        if match:
            at = match.end()
            continue
        if text.startswith("'s", at) and not text[at + 2 : at + 3].isalnum():  # (2.10)'s
            found.append(Token("other", "'s", at, at + 2, False))
            at += 2
            continue
        match = _TOKEN.match(text, at)
        spaced = at == 0 or text[at - 1].isspace()
        if match is None:
            found.append(Token("other", text[at], at, at + 1, spaced))
            at += 1
            continue
        if match.lastgroup == "word" and match[0].endswith("'s"):  # Gamma's: the letter, then the ending
            name = match[0][:-2]
            kind = "name" if _letter(name) or name in FUNCTIONS else "word"
            found += [Token(kind, name, at, match.end() - 2, spaced), Token("other", "'s", match.end() - 2, match.end(), False)]
        else:
            found.append(Token(str(match.lastgroup), match[0], at, match.end(), spaced))
        at = match.end()
    return found


def _mathematical(pieces: list[Token], i: int) -> bool:
    token = pieces[i]
    following = pieces[i + 1] if i + 1 < len(pieces) else None
    if token.kind in ("other", "word"):
        return False
    if token.text in ("A", "I"):
        return following is not None and following.kind in ("relation", "index")
    if token.text == "sum":
        return following is not None and following.kind == "index"
    if token.text == "a":
        return following is not None and (
            not (is_word(following) or following.text == "sum") or following.text in _AFTER_NO_ARTICLE
        )
    if token.text in UNITS:  # parameter^2 / loss, sqrt(loss)
        beside = {pieces[j].text for j in (i - 1, i + 1) if 0 <= j < len(pieces)}
        return bool(beside & {"^", "/"}) or (beside == {"(", ")"} and pieces[i - 2].text == "sqrt")
    if is_word(token):
        return following is not None and not following.spaced and following.text == "^"
    if token.text in ",;:.":
        joins = following is not None and not following.spaced and following.kind == "name" and len(following.text) == 1
        return token.text != "." or bool(token.spaced) or joins
    return not (
        token.text in ("max", "min", "ln", "exp") and (following is None or (following.spaced and following.kind == "word"))
    )


def _strong(run: list[Token], i: int) -> bool:
    token = run[i]
    if token.kind == "index" or token.text == "^":
        return True
    return token.kind == "name" and (_letter(token.text) is not None or token.text in ("sqrt", "grad", "hess", "tr"))


def _trimmed(run: list[Token]) -> list[list[Token]]:
    """The run, cut at its commas and other separators outside brackets, without signs and open brackets at its ends."""
    pieces, depth, current = [], 0, list[Token]()
    for token in run:
        depth += (token.text in OPENING) - (token.text in CLOSING)
        if token.text in ",;:" and depth <= 0:
            pieces.append(current)
            current = []
        else:
            current.append(token)
    pieces.append(current)
    found = []
    for piece in pieces:
        while piece and not _balanced(piece):
            piece = piece[1:] if piece[0].text in (*OPENING, *CLOSING) or _opens_late(piece) else piece[:-1]
        while piece and (piece[-1].text in ",;:.+-±−/~" or piece[-1].kind == "relation"):
            piece = piece[:-1]
        while piece and (piece[0].text in ",;:.+±/~^'" or piece[0].kind in ("relation", "prime", "index")):
            piece = piece[1:]
        if piece and piece[0].text in "-−" and (len(piece) < 2 or piece[1].spaced):
            piece = piece[1:]
        if piece and _balanced(piece):
            found.append(piece)
    return found


def _balanced(piece: list[Token]) -> bool:
    stack = []
    for token in piece:
        if token.text in OPENING:
            stack.append(token.text)
        elif token.text in CLOSING and (not stack or stack.pop() != CLOSING[token.text]):
            return False
    return not stack and sum(token.text == "|" for token in piece) % 2 == 0


def _opens_late(piece: list[Token]) -> bool:
    """Whether a bracket closes that was never opened, so that the start must go."""
    depth = 0
    for token in piece:
        depth += (token.text in OPENING) - (token.text in CLOSING)
        if depth < 0:
            return True
    return False
