"""Progress of long computations on standard error: a bar on a terminal, elsewhere a line every ten seconds."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from time import monotonic
from typing import Any

from .errors import InputError

_PATIENCE = 1.0  # seconds before a bar appears: most computations are over by then, and rich must be imported within the next
_INTERVAL = 10.0  # seconds between two lines where there is no terminal
_THREAD = threading.local()
"""`display`: where the tasks that this thread has open are shown; None without one."""


@contextmanager
def track(title: str, total: float, progress: bool | None = None) -> Iterator[Callable[[float], None]]:
    """Context of a task whose progress is shown; it yields a function to call with each amount of `total` done.

    On a terminal a bar shows share done, time passed and time left, and vanishes at the end. Elsewhere a line such as
    "predict: 40 %, 0:00:12 passed, 0:00:18 left" is printed every ten seconds. Tasks inside others share the outermost one's bar
    or lines, which name the outer and the innermost task. The time left assumes the mean speed so far. Amounts may
    come from any thread. `progress`: None shows a bar after a second, lines after ten; True either at once; False
    nothing. Until something is shown nothing is imported. Raises InputError.

    >>> with track("paths", total=3, progress=False) as advance:
    ...     for path in range(3):
    ...         advance(1)
    """
    if progress is not None and not isinstance(progress, bool):
        raise InputError("progress", progress, "True, False, or None (a bar on a terminal, elsewhere a line every ten seconds)")
    outer: _Display | None = getattr(_THREAD, "display", None)
    if progress is False or (progress is None and outer is None and sys.stderr is None):
        yield lambda amount: None
        return
    display, task = outer or _display(), _Task(title, total)
    _THREAD.display = display
    display.tasks.append(task)
    display.begin(at_once=bool(progress))
    try:
        yield task.advance
    finally:
        if outer is None:
            _THREAD.display = None
            display.end()
        display.tasks.remove(task)


def note(text: str) -> None:
    """Say what the innermost task that this thread has open does now, such as "trials at lr 0.01: 12 momenta x 64 seeds".

    It is shown with the task's title until the next note; "" takes it away. Nothing happens where no progress is shown.
    """
    display: _Display | None = getattr(_THREAD, "display", None)
    if display is not None:
        display.tasks[-1].note = text


class _Task:
    """A title, and the amount done of a total since the task began."""

    def __init__(self, title: str, total: float) -> None:
        self.title, self.total, self.done, self.note = title, total, 0.0, ""
        self.began, self.lock = monotonic(), threading.Lock()

    def advance(self, amount: float) -> None:
        with self.lock:
            self.done += amount

    @property
    def name(self) -> str:
        """The title, and what the task does now."""
        return f"{self.title} ({self.note})" if self.note else self.title

    @property
    def state(self) -> str:
        """Share done, time passed and time left.

        >>> task = _Task("paths", 4)
        >>> task.began -= 60
        >>> task.state, task.advance(1), task.state
        ('0:01:00 passed', None, '25 %, 0:01:00 passed, 0:03:00 left')
        """
        passed, done = monotonic() - self.began, self.done
        text = f"{_time(passed)} passed"
        if done <= 0:
            return text
        return f"{100 * min(done / self.total, 1):.0f} %, {text}, {_time(passed * max(self.total / done - 1, 0))} left"


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


class _Display:
    """Shows the tasks that one thread has open, from `_wait` seconds after the first began, or at once if that is asked for."""

    _wait: float

    def __init__(self) -> None:
        self.tasks: list[_Task] = []
        self.timer: threading.Timer | None = None
        self.lock, self.shown, self.closed = threading.Lock(), False, False

    def begin(self, at_once: bool) -> None:
        """A task has begun."""
        if at_once and not self.shown:
            self.show()
        elif self.timer is None:
            self.wait()

    def wait(self) -> None:
        self.timer = threading.Timer(self._wait, self.show)  # not at the next amount: that may come late
        self.timer.daemon = True
        self.timer.start()

    def show(self) -> None:
        with self.lock:
            if not self.closed:
                self.cancel()
                self.shown = True
                self._show()

    def end(self) -> None:
        """The last task is over."""
        with self.lock:
            self.cancel()
            self.closed = True
            self._end()

    def cancel(self) -> None:
        if self.timer is not None:
            self.timer.cancel()

    def now(self) -> tuple[str, _Task]:
        """The names of the outermost and the innermost task, and the innermost; one that has just begun is left out."""
        every = self.tasks[:]  # a copy: the thread goes on
        old = [task for task in every if monotonic() - task.began >= _PATIENCE] or every[:1]
        if len(old) > 1 and old[0].title != old[-1].title:
            return f"{old[0].name} > {old[-1].name}", old[-1]
        return old[-1].name, old[-1]

    def _show(self) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        pass


class _Lines(_Display):
    """A line every ten seconds."""

    _wait = _INTERVAL

    def _show(self) -> None:
        name, task = self.now()
        if sys.stderr is not None:  # print would take standard output in its place
            with suppress(OSError, ValueError):  # closed: the computation goes on
                print(f"{name}: {task.state}", file=sys.stderr, flush=True)
        self.wait()


class _Bar(_Display):
    """A bar that vanishes at the end."""

    _wait = _PATIENCE
    _live: Any = None

    def _show(self) -> None:
        if self._live is None:
            self._live = _live(self.now)
            self._live.start(refresh=True)

    def _end(self) -> None:
        if self._live is not None:
            self._live.stop()


def _display() -> _Display:
    return _Bar() if sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty() else _Lines()


def _live(now: Callable[[], tuple[str, _Task]]) -> Any:
    from rich.console import Console
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    def picture() -> Table:
        name, task = now()
        row = Table.grid(padding=(0, 1))
        for whole in (False, True, True):  # a long name is wrapped
            row.add_column(no_wrap=whole)
        row.add_row(Text(name), ProgressBar(total=task.total, completed=task.done, width=12), Text(task.state))
        return row

    return Live(get_renderable=picture, console=Console(stderr=True, force_terminal=True), transient=True, refresh_per_second=8)
