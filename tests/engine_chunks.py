"""What the tests of the engines run in worker processes: light to import there."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from uuid import uuid4

import numpy as np

from sde_momentum import InputError
from validation.shares import tell

CHUNKS = tuple(range(8, 0, -1))
SLOW = CHUNKS[0]  # longest first: its worker has run nothing before


class UnpicklableError(Exception):
    """It cannot be made from its message."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


def product(chunk: int, folder: Path) -> bytes:
    """Leaves a file for each call."""
    (folder / f"{chunk}-{uuid4()}").touch()
    matrix = np.random.default_rng(chunk).standard_normal((64, 64))
    return (matrix @ matrix).tobytes()


def brief(chunk: int, folder: Path) -> None:
    """A moment."""
    (folder / str(chunk)).touch()
    time.sleep(0.05)


def torch_sum(chunk: int, folder: Path) -> tuple[bytes, int]:
    """A sum whose rounding depends on the number of threads, and that number; torch may be loaded here first."""
    import torch

    (folder / f"{chunk}-{uuid4()}").touch()
    vector = torch.randn(100_000, generator=torch.Generator().manual_seed(chunk))
    return vector.sum().numpy().tobytes(), torch.get_num_threads()


def forever(chunk: int, folder: Path) -> None:
    """Does not come back."""
    (folder / str(chunk)).touch()
    time.sleep(600)


def half(chunk: int, folder: Path) -> None:
    """Tells a quarter, and less again, then a half; comes back when it has been heard."""
    for share in (0.25, 0.125, 0.5):
        tell(share)
    while not (folder / "heard").exists():
        time.sleep(0.01)


def stuck_at_first(chunk: int, folder: Path) -> bytes:
    """The first to run SLOW leaves its process id and does not come back."""
    if chunk == SLOW and not (folder / "victim").exists():
        (folder / f"{chunk}-{uuid4()}").touch()
        (folder / "part").write_text(str(os.getpid()))
        (folder / "part").rename(folder / "victim")
        time.sleep(600)
    return product(chunk, folder)


def deadly(chunk: int, folder: Path, who: tuple[int, ...]) -> bytes:
    """Some chunks end their process."""
    if chunk in who:
        (folder / f"{chunk}-{uuid4()}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return product(chunk, folder)


def refuses(chunk: int, error: str) -> int:
    """Chunk 5 raises."""
    if chunk == 5:
        raise InputError("lr", -1.0, "finite numbers > 0") if error == "input" else UnpicklableError("this", "that")
    return chunk


def slow_product(chunk: int, folder: Path) -> bytes:
    """The same, after half a second in which its worker may die."""
    (folder / f"{chunk}-{uuid4()}").touch()
    time.sleep(0.5)
    return product(chunk, folder)
