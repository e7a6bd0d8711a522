"""Text for a terminal of any width: lines broken at spaces, tables that leave out their least important columns."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from textwrap import wrap

_LEAST = 40
"""Narrowest width that is served; a narrower terminal breaks lines itself."""
_WORDS = 24
"""Characters to which a column of words is narrowed before any column is left out."""
_GAP = 2


def width() -> int | None:
    """Columns for standard output: COLUMNS, or those of the terminal; None, for any, where a file or a pipe takes the text."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked) > 0:
        return max(int(asked), _LEAST)
    try:
        return max(os.get_terminal_size(sys.stdout.fileno()).columns, _LEAST)
    except (AttributeError, OSError, ValueError):  # no terminal, or no file behind it
        return None


def wrapped(text: str, columns: int | None) -> str:
    """`text` with longer lines broken at spaces; the rest of a line stands below its last column, or two to the right.

    >>> print(wrapped("  noise c    0.1, of labels and batches", 30))
      noise c    0.1, of labels
                 and batches
    """
    return text if columns is None else "\n".join(part for line in text.split("\n") for part in _broken(line, columns))


def _broken(line: str, columns: int) -> list[str]:
    if len(line) <= columns:
        return [line]
    inside = len(line) - len(line.lstrip())
    stops = [found.end() for found in re.finditer(r"(?<=\S) {2,}(?=\S)", line)]
    at = max((stop for stop in stops if stop <= columns // 2), default=inside + 2)
    # what stands before the text of the last column keeps its spaces
    head = line[:at] if at in stops else line[:inside]
    rest = wrap(
        line[len(head) :], columns, initial_indent=" " * len(head), subsequent_indent=" " * at,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    return [head + rest[0][len(head) :], *rest[1:]]


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], columns: int | None = None, *, drop: Sequence[str] = (), title: str = ""
) -> list[str]:
    """The lines of a table at most `columns` wide, whose cells are never cut.

    Where it is too wide, columns of words are narrowed first, then columns are left out, named in a last line. Cells may have
    several lines.

    Args:
        head: of each column; aligned to the right, but to the left long words, and the first column unless of whole numbers
        rows: each as long as `head`
        columns: None for any width
        drop: heads in the order in which their columns may be left out; then from the right, never the first
        title: a line above

    >>> print(*table(("lr", "steps", "ratio"), [("0.1", "1,000", "1.02")], 12, drop=["steps"]), sep="\\n")
    lr   ratio
    ---  -----
    0.1   1.02
    not shown
      (narrow):
      steps
    """
    cells = [[row[i] for row in rows] for i in range(len(head))]
    shown, gone = list(range(len(head))), list[int]()
    order = [head.index(name) for name in drop if name in head]
    order += [i for i in reversed(range(1, len(head))) if i not in order]
    while True:
        widths = [_natural(head[i], cells[i]) for i in shown]
        total = sum(widths) + _GAP * (len(shown) - 1)
        for at in sorted(range(len(shown)), key=lambda at: -widths[at]):
            if columns is not None and total > columns and widths[at] > _WORDS:
                narrow = max(_WORDS, _longest_word(head[shown[at]], cells[shown[at]]), widths[at] - (total - columns))
                total, widths[at] = total - widths[at] + narrow, narrow
        if columns is None or total <= columns or len(shown) == 1:
            break
        gone.append(next(i for i in order if i in shown))
        shown.remove(gone[-1])
    lines = [title] if title else []
    right = [(i > 0 or all(map(str.isdecimal, cells[i]))) and _widest(cells[i]) <= _WORDS for i in shown]
    lines += _row([_cell(head[i], w) for i, w in zip(shown, widths, strict=True)], widths, right, bottom=True)
    lines.append((" " * _GAP).join("-" * w for w in widths))
    for row in rows:
        lines += _row([_cell(row[i], w) for i, w in zip(shown, widths, strict=True)], widths, right, bottom=False)
    if gone:
        lines += _broken(f"not shown (narrow): {', '.join(head[i] for i in sorted(gone))}", columns or 0)
    return lines


def _natural(head: str, cells: Sequence[str]) -> int:
    """Width of a column: of its widest line, and of the longest word of its head, which may take several lines."""
    return max(_widest(cells), *map(len, head.split()), 0)


def _widest(cells: Sequence[str]) -> int:
    return max((len(line) for cell in cells for line in cell.split("\n")), default=0)


def _longest_word(head: str, cells: Sequence[str]) -> int:
    return max(len(word) for word in (*head.split(), *(word for cell in cells for word in cell.split()), ""))


def _cell(text: str, columns: int) -> list[str]:
    """The lines of a cell."""
    return [
        part
        for line in text.split("\n")
        for part in (wrap(line, columns, break_long_words=False, break_on_hyphens=False) if len(line) > columns else [line])
    ]


def _row(cells: Sequence[list[str]], widths: Sequence[int], right: Sequence[bool], *, bottom: bool) -> list[str]:
    """The lines of a row; cells with fewer lines are empty at the bottom, or at the top if `bottom`."""
    height = max(map(len, cells))
    filled = [[""] * (height - len(cell)) + cell if bottom else cell + [""] * (height - len(cell)) for cell in cells]
    lines = []
    for parts in zip(*filled, strict=True):
        texts = (part.rjust(w) if r else part.ljust(w) for part, w, r in zip(parts, widths, right, strict=True))
        lines.append((" " * _GAP).join(texts).rstrip())
    return lines
