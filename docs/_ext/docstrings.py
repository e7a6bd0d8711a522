"""Docstrings, written for the terminal, as reStructuredText: formulas typeset, names in backquotes as code, references linked."""

from __future__ import annotations

import re
from typing import Any

from plain_formula import Unreadable, inside, latex
from sphinx.application import Sphinx

from derivations.sections import Section

_SECTIONS = re.compile(r"(Args|Arguments|Attributes|Returns|Raises|Yields|Example|Examples|Note|Notes|Warns|Parameters):\s*$")
_ITEM = re.compile(r"(\s+\*{0,2}[\w.]+(?:, \*{0,2}[\w.]+)*(?: \([^)]*\))?: )(.*)")
_MARK = "theory: "
_REFERENCE = re.compile(rf"\[{_MARK}([^\]]*)\]")
_BY_TITLE = {section.title: section for section in Section}


def _link(match: re.Match[str]) -> str:
    """`[theory: Drift, eq. 3.8; Crossing]`, each part to its place on the page of the theory."""
    parts = []
    for part in match[1].split(";"):
        title, _, equation = part.strip().partition(", eq. ")
        if title not in _BY_TITLE:
            return match[0]
        anchor = f"eq-{equation.replace('.', '-')}" if equation else _BY_TITLE[title].anchor
        parts.append(f"`{title}{f', eq. {equation}' if equation else ''} <../theory.html#{anchor}>`__")
    return f"[{_MARK}{'; '.join(parts)}]"


def _escaped(text: str) -> str:
    return re.sub(r"([\\*|_`])", r"\\\1", text)


def prose(text: str) -> str:
    """A stretch of words: code in double backquotes, formulas as mathematics, references as links."""
    out = []
    for i, part in enumerate(re.split(r"`+([^`]*)`+", text)):
        if i % 2:
            out.append(f"``{part}``" if part.strip() == part and part else _escaped(part))
            continue
        at = 0
        for match in _REFERENCE.finditer(part):
            out += [_formulas(part[at : match.start()]), _link(match)]
            at = match.end()
        out.append(_formulas(part[at:]))
    return "".join(out)


def _formulas(text: str) -> str:
    return "".join(rf"\ :math:`{part}`\ " if is_formula else _escaped(part) for is_formula, part in inside(text))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _block(lines: list[str]) -> list[str]:
    """Indented lines: formulas, or text that is shown as it stands."""
    sources = [_REFERENCE.search(line) for line in lines]
    shown = [re.sub(rf"\s*(\((\d+\.\d+)\)|\[{_MARK}.*\])$", "", line.strip()) for line in lines if line.strip()]
    try:
        formulas = [latex(line) for line in shown]
    except (Unreadable, KeyError):
        return ["::", "", *lines, ""]
    if any(re.search(r"[\w)] = |~|->", line) is None for line in shown):
        return ["::", "", *lines, ""]
    written = [part for formula in formulas for part in (".. math::", "", f"   {formula}", "")]
    links = [prose(source[0]) for source in sources if source is not None]
    return [*written, " ".join(links), ""] if links else written


def restructured(lines: list[str]) -> list[str]:
    """The lines of a docstring, ready for napoleon, which knows Args and Returns."""
    out: list[str] = []
    section, at = False, 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            out.append(line)
            at += 1
            continue
        if line.lstrip().startswith(">>>"):
            if out and out[-1].strip():
                out.append("")
            while at < len(lines) and lines[at].strip():
                out.append(lines[at])
                at += 1
            continue
        if _SECTIONS.fullmatch(line.strip()) and _indent(line) == 0:
            section = line.strip() not in ("Example:", "Examples:", "Note:", "Notes:")
            out.append(line)
            at += 1
            continue
        if section and _indent(line) == 0:
            section = False
        end = at + 1
        if section:
            while end < len(lines) and lines[end].strip() and _indent(lines[end]) > _indent(line):
                end += 1
            joined = " ".join([line.rstrip(), *(part.strip() for part in lines[at + 1 : end])])
            item = _ITEM.fullmatch(joined)
            out.append(item[1] + prose(item[2]) if item else joined[: _indent(joined)] + prose(joined.strip()))
        elif _indent(line) >= 4 and (at == 0 or not lines[at - 1].strip()):
            while end < len(lines) and (_indent(lines[end]) >= 4 or not lines[end].strip()):
                end += 1
            out += _block(lines[at:end])
        elif re.match(r"\s*(- |\* |\d+\. )", line):
            while end < len(lines) and lines[end].strip() and _indent(lines[end]) > _indent(line):
                end += 1
            joined = " ".join([line.strip(), *(part.strip() for part in lines[at + 1 : end])])
            mark, _, rest = joined.partition(" ")
            if out and out[-1].strip() and not re.match(r"\s*(- |\* |\d+\. )", out[-1]):
                out.append("")
            out.append(f"{mark} {prose(rest)}")
        else:
            while end < len(lines) and lines[end].strip() and _indent(lines[end]) == _indent(line) \
                    and not re.match(r"\s*(- |\* |>>>)", lines[end]) and not _SECTIONS.fullmatch(lines[end].strip()):  # fmt: skip
                end += 1
            out.append(prose(" ".join(part.strip() for part in lines[at:end])))
        at = end
    return out


def _process(app: Sphinx, what: str, name: str, value: object, options: Any, lines: list[str]) -> None:
    lines[:] = restructured(lines)


def _short_types(
    app: Sphinx, what: str, name: str, value: object, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Names of types in place of what Sphinx makes of an alias within a union."""
    found = [text and re.sub(r"TypeAliasForwardRef\('(\w+)'\)", r"\1", text) for text in (signature, returns)]
    return found[0], found[1]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", _process, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", _short_types)
    return {"parallel_read_safe": True}
