"""How much of a chunk's work is done while it runs, told from this process or from another of this machine."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_NUMBER = struct.Struct("d")
_listener: Callable[[float], object] | None = None
"""It hears of the chunk that this process runs now."""


def tell(share: float) -> None:
    """Say that this share, from 0 to 1, of the running chunk's work is done. Nothing happens where nobody listens."""
    if _listener is not None:
        _listener(share)


@contextmanager
def heard_by(listener: Callable[[float], object] | None) -> Iterator[None]:
    """Context in which `tell` calls `listener`."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


@dataclass(frozen=True)
class Place:
    """Where the share of one chunk is written; it can be sent to a process of this machine."""

    file: Path
    i: int

    def __call__(self, share: float) -> None:
        with suppress(OSError), self.file.open("r+b") as file:  # gone: the client has ended
            file.seek(_NUMBER.size * self.i)
            file.write(_NUMBER.pack(share))

    def read(self) -> float:
        """The share told last; 0 before."""
        with self.file.open("rb") as file:
            file.seek(_NUMBER.size * self.i)
            return float(_NUMBER.unpack(file.read(_NUMBER.size))[0])


class Board:
    """A temporary file with a place for each of n chunks, until it is closed.

    >>> board = Board(2)
    >>> board.places[1](0.25)
    >>> [place.read() for place in board.places], board.close()
    ([0.0, 0.25], None)
    """

    def __init__(self, n: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="sde-momentum-")
        file = Path(self._folder.name) / "shares"
        file.write_bytes(bytes(_NUMBER.size * n))
        self.places = [Place(file, i) for i in range(n)]

    def close(self) -> None:
        """Remove the file."""
        self._folder.cleanup()
