"""Progress bars on standard error for long computations."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic
from typing import Any

from .errors import InputError

_PATIENCE = 2.0  # seconds before a bar appears: most computations are over by then
_THREAD = threading.local()
"""`bar`: the innermost one that this thread has open."""


@contextmanager
def track(title: str, total: float, progress: bool | None = None) -> Iterator[Callable[[float], None]]:
    """Context of a progress bar with the time passed and left; it yields a function to call with each amount of `total` done.

    `progress`: None shows the bar if standard error is a terminal and the work takes longer than 2 s; True at once and
    anywhere; False never. Until it is shown nothing is printed and nothing imported. The bar vanishes at
    the end, and while an inner one is open. The time left assumes the mean speed so far. Amounts may come from any thread.
    Raises InputError.

    >>> with track("paths", total=3, progress=False) as advance:
    ...     for path in range(3):
    ...         advance(1)
    """
    if progress is not None and not isinstance(progress, bool):
        raise InputError("progress", progress, "True, False, or None (shown on a terminal)")
    if progress is False or (progress is None and not _terminal()):
        yield lambda amount: None
        return
    bar, outer = _Bar(title, total), getattr(_THREAD, "bar", None)
    if outer is not None:
        outer.cover()
    _THREAD.bar = bar
    timer = threading.Timer(_PATIENCE, bar.show)  # not at the next amount: that may come late
    timer.daemon = True
    if progress:
        bar.show()
    else:
        timer.start()
    try:
        yield bar.advance
    finally:
        timer.cancel()
        bar.close()
        _THREAD.bar = outer
        if outer is not None:
            outer.uncover()


def _terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


class _Bar:
    """Counts from the start; is drawn from `show` on, unless it is closed by then."""

    def __init__(self, title: str, total: float) -> None:
        self.title, self.total, self.done, self.began = title, total, 0.0, monotonic()
        self.lock, self.drawn = threading.Lock(), None  # type: threading.Lock, Any
        self.closed, self.covered, self.due = False, False, False

    def advance(self, amount: float) -> None:
        with self.lock:
            self.done += amount
            if self.drawn is not None:
                self.drawn.update(self.drawn.task_ids[0], completed=self.done)

    def show(self) -> None:
        drawn = _drawing(self.timing)
        with self.lock:
            self.due = True
            if not self.closed and not self.covered and self.drawn is None:
                drawn.add_task(self.title, total=self.total, completed=self.done)
                drawn.start()
                self.drawn = drawn

    def close(self) -> None:
        with self.lock:
            self.closed = True
            self._hide()

    def cover(self) -> None:
        """Hide while an inner bar is open."""
        with self.lock:
            self.covered = True
            self._hide()

    def uncover(self) -> None:
        """Show again: the inner bar is closed."""
        with self.lock:
            self.covered = False
        if self.due:
            self.show()

    def _hide(self) -> None:
        if self.drawn is not None:
            self.drawn.stop()
            self.drawn = None

    def timing(self) -> str:
        """Time passed and time left.

        >>> bar = _Bar("paths", 4)
        >>> bar.began -= 60
        >>> bar.timing(), bar.advance(1), bar.timing()
        ('0:01:00', None, '0:01:00, 0:03:00 left')
        """
        passed = monotonic() - self.began
        text = str(timedelta(seconds=round(passed)))
        if self.done <= 0:
            return text
        return f"{text}, {timedelta(seconds=round(passed * max(self.total / self.done - 1, 0)))} left"


def _drawing(timing: Callable[[], str]) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TaskProgressColumn, TextColumn
    from rich.text import Text

    class Timing(ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text(timing())

    console = Console(stderr=True, force_terminal=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), Timing())
    return Progress(*columns, console=console, transient=True)
