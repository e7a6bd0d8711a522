"""What a reader hands on, and what is asked of the files that it reads."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sde_momentum.core.errors import InputError


class BrokenFileError(InputError):
    """A file that is not what its name says: one line with the problem and the file."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__("--data", f"{path.name}: {problem} (in {path.parent})", "an intact file")


class Labelled(NamedTuple):
    """Images (n, h, w, channels) and their labels (n,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


class Contents(NamedTuple):
    """A whole set, and in what form it was read."""

    train: Labelled
    test: Labelled
    form: str


def checked_labels(values: NDArray[Any], n_images: int, n_classes: int, path: Path) -> NDArray[np.int64]:
    """The labels as int64, if there is one for each image and all are of a class. Raises BrokenFileError."""
    if values.shape != (n_images,):
        raise BrokenFileError(path, f"{values.size} labels for {n_images} images")
    if values.dtype.kind not in "iu" or (values.size and (values.min() < 0 or values.max() >= n_classes)):
        raise BrokenFileError(path, f"labels that are not whole numbers from 0 to {n_classes - 1}")
    return values.astype(np.int64)


def read_bytes(path: Path, limit: int) -> bytes:
    """The file, unless it is larger than `limit` bytes or cannot be read. Raises BrokenFileError."""
    try:
        size = path.stat().st_size
        if size > limit:
            raise BrokenFileError(path, f"{size:,} bytes, more than such a file can have")
        return path.read_bytes()
    except OSError as error:
        raise BrokenFileError(path, f"cannot be read, {error.strerror or error}") from None


def is_original(content: bytes, md5: str | None) -> bool:
    """Whether the MD5 is the published one. It tells an original from a copy; it guards against nothing."""
    return md5 is not None and hashlib.md5(content, usedforsecurity=False).hexdigest() == md5
