"""What the commands of this package share: workers that make sense, and an end at once when interrupted."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from sde_momentum.core.errors import InputError


def check_workers(workers: int) -> None:
    """Raise InputError unless `workers` is at least 1, or -1."""
    if workers != -1 and workers < 1:
        raise InputError("--workers", workers, "a whole number >= 1, or -1 for every core")


def stop(what: str, path: Path) -> NoReturn:
    """Leave at once: workers are in the middle of something that nobody waits for."""
    print(f"interrupted; finished {what} are kept: add --resume to go on ({path})", file=sys.stderr, flush=True)
    os._exit(130)
