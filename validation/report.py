"""The report of an experiment: a self-contained HTML page, pictures as files, and the main tables for the terminal."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from sde_momentum.core.files import write_whole
from sde_momentum.core.terminal import table as table_lines
from sde_momentum.core.terminal import width, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "report.html"
SOURCES = (
    "The rule 1 − β = C lr^(2/3): A. Cowsik, T. Can, P. Glorioso, Flatter, faster: scaling momentum for optimal speedup of SGD, "
    "arXiv 2210.16400.",
    "Symbols and formulas: docs/theory.md and docs/glossary.md of sde-momentum; `sde-momentum derive` prints the proofs.",
)
"""What every report stands on."""
_ARXIV, _LINK = re.compile(r"arXiv[ :](\d{4}\.\d{4,5})"), r'<a href="https://arxiv.org/abs/\1">arXiv \1</a>'
Note = str | tuple[str, str]
"""A paragraph; of a pair the first text is emphasised."""


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        head: of each column
        rows: each as long as `head`
        groups: (name, number of columns) of what stands above the head, from the second column on
        shown: also on the terminal, where a group of two columns becomes one
        drop: heads, or groups of two, that a narrow terminal leaves out first, in this order; then from the right
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    groups: Sequence[tuple[str, int]] = ()
    shown: bool = False
    drop: Sequence[str] = ()

    @property
    def beginnings(self) -> list[int]:
        """The first column of each group."""
        return [1 + sum(size for _, size in self.groups[:i]) for i in range(len(self.groups))]


@dataclass(frozen=True)
class Picture:
    """A picture, drawn when the report is written; its file is NAME.png."""

    name: str
    draw: Callable[[], Figure]
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the report, in the order of the attributes: paragraphs, bullets, table, notes on it, pictures, and the command
    that repeats this part alone, with the versions of the packages that made it."""

    title: str
    text: Sequence[Note] = ()
    findings: Sequence[str] = ()
    table: Table | None = None
    notes: Sequence[Note] = ()
    pictures: Sequence[Picture] = ()
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What the results of an experiment say.

    Attributes:
        title, subtitle: of the page
        summary: plain numbers, lists and strings, for --json
        findings: a sentence each, failures of the predictions included
        sections: in order
        how: methods of measurement, a sentence or two each
        command: that repeats the experiment
        versions: package -> version
        configuration: as JSON
        sources: what is cited, a sentence each
    """

    title: str
    subtitle: str
    summary: Mapping[str, Any]
    findings: Sequence[str] = ()
    sections: Sequence[Section] = ()
    how: Sequence[str] = ()
    command: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    configuration: str = ""
    sources: Sequence[str] = SOURCES


def write(report: Report, folder: Path) -> None:
    """The pictures and the page, each whole or not at all."""
    from derivations.page import stylesheet
    from derivations.page.notation import typeset

    templates = jinja2.PackageLoader("validation")
    environment = jinja2.Environment(loader=templates, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.filters["typeset"] = lambda text: Markup(_ARXIV.sub(_LINK, typeset(text)))
    style = Markup(stylesheet("base.css") + templates.get_source(environment, "report.css")[0])
    pictures = {
        picture.name: base64.b64encode(_draw(picture, folder)).decode()
        for section in report.sections
        for picture in section.pictures
    }
    page = environment.get_template("report.html.j2").render(report=report, pictures=pictures, style=style)
    write_whole(folder / PAGE, lambda file: file.write(page.encode()))


def _draw(picture: Picture, folder: Path) -> bytes:
    from .drawing import plt, render

    figure = picture.draw()
    content = render(figure, "png")
    plt.close(figure)
    write_whole(folder / f"{picture.name}.png", lambda file: file.write(content))
    return content


def show(report: Report, folder: Path) -> None:
    """The tables that are to be shown, and all findings, on standard output, as wide as the terminal is."""
    columns = width()
    for section in report.sections:
        if section.table is not None and section.table.shown:
            print(*_terminal(section.title, section.table, columns), "", sep="\n")
    lines = [f"- {line}" for line in report.findings]
    for section in report.sections:
        if section.findings:
            lines += [section.title, *(f"- {line}" for line in section.findings)]
    lines.append(f"report: {folder / PAGE}")
    print(wrapped("\n".join(lines), columns))


def _terminal(title: str, table: Table, columns: int | None) -> list[str]:
    """The lines of a table; a group of two columns is one, with the second below the first."""
    every = [(head, [row[i] for row in table.rows]) for i, head in enumerate(table.head)]
    merged, at = every[:1] if table.groups else every, 1
    for name, size in table.groups:
        some = every[at : at + size]
        if size == 2:
            some = [(name, [f"{first}\n{second}" for first, second in zip(some[0][1], some[1][1], strict=True)])]
        merged += some
        at += size
    rows = list(zip(*(cells for _, cells in merged), strict=True))
    return table_lines([head for head, _ in merged], rows, columns, drop=table.drop, title=title)
