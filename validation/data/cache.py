"""Decoded images kept in the user's cache: one file for each set of sources, written whole, and forgotten if it is damaged."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from sde_momentum.core.files import read_arrays, write_arrays

_LAYOUT = 1  # of the file; another number, and older files are made again


def directory() -> Path:
    """$XDG_CACHE_HOME/sde-momentum, or ~/.cache/sde-momentum."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "sde-momentum"


def cached(sources: Sequence[Path], make: Callable[[], dict[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """What `make` gives, from the cache if the sources have their size and time of change of then.

    The arrays' checksums are in the file. Where no file can be kept, `make` is called each time.
    """
    try:
        name = hashlib.sha256(json.dumps([str(path) for path in sources]).encode()).hexdigest()[:24]
        file, key = directory() / f"images-{name}.npz", _key(sources)
    except (OSError, RuntimeError):  # RuntimeError: no home
        return make()
    stored = read_arrays(file)
    if stored is not None and stored[0] == key:
        return stored[1]
    arrays = make()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_arrays(file, key, arrays)
    except OSError:
        pass
    return arrays


def _key(sources: Sequence[Path]) -> str:
    stats = [path.stat() for path in sources]
    # another version of Pillow may decode a JPEG to other pixels
    return json.dumps([_LAYOUT, version("pillow"), [[stat.st_size, stat.st_mtime_ns] for stat in stats]])
