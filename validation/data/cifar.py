"""CIFAR-10 (Krizhevsky 2009) as it is handed out: batches in Python's pickles or in plain bytes, in a tar or unpacked.

An image is 3072 bytes: red, green, blue, each 32 rows of 32 pixels. A record of a binary batch is the label and the image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import archive, restricted_pickle
from .checks import BrokenFileError, Contents, Labelled, checked_labels, is_original, read_bytes

SIDE, CHANNELS = 32, 3
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_PIXELS = CHANNELS * SIDE * SIDE
_LIMIT = 2**26  # bytes of a batch; the originals have 31 million

# From https://www.cs.toronto.edu/~kriz/cifar.html; those of the unpacked batches from torchvision.
PYTHON_ARCHIVE, PYTHON_ARCHIVE_MD5 = "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"
BINARY_ARCHIVE, BINARY_ARCHIVE_MD5 = "cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"
PYTHON_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
PYTHON_FILES = tuple(PYTHON_MD5)  # the last one is the test part
BINARY_FILES = tuple(f"{name}.bin" for name in PYTHON_MD5)


def read_python(paths: Sequence[Path]) -> Contents:
    """The unpacked python batches, in the order of `PYTHON_FILES`. Raises BrokenFileError."""
    files = {path: read_bytes(path, _LIMIT) for path in paths}
    original = all(is_original(content, PYTHON_MD5.get(path.name)) for path, content in files.items())
    return _contents(files, python_batch, "python batches", original)


def read_binary(paths: Sequence[Path]) -> Contents:
    """The unpacked binary batches, in the order of `BINARY_FILES`. Raises BrokenFileError."""
    return _contents({path: read_bytes(path, _LIMIT) for path in paths}, binary_batch, "binary batches", False)


def read_python_archive(paths: Sequence[Path]) -> Contents:
    """The tar of the python batches. Raises BrokenFileError."""
    files, original = _unpacked(paths[0], PYTHON_FILES, PYTHON_ARCHIVE_MD5)
    return _contents(files, python_batch, "python batches", original)


def read_binary_archive(paths: Sequence[Path]) -> Contents:
    """The tar of the binary batches. Raises BrokenFileError."""
    files, original = _unpacked(paths[0], BINARY_FILES, BINARY_ARCHIVE_MD5)
    return _contents(files, binary_batch, "binary batches", original)


def python_batch(content: bytes, path: Path) -> Labelled:
    """A dictionary with `data` (n, 3072) and `labels` (n), its keys text or, as Python 2 wrote them, bytes."""
    batch = restricted_pickle.load(content, path)
    if not isinstance(batch, dict):
        raise BrokenFileError(path, "a pickle that is no dictionary")
    entries = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in batch.items()}
    data, labels = entries.get("data"), entries.get("labels")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != _PIXELS:
        raise BrokenFileError(path, f"no `data` of n x {_PIXELS} bytes in it")
    if not isinstance(labels, np.ndarray) and not (isinstance(labels, list) and all(type(label) is int for label in labels)):
        raise BrokenFileError(path, "no `labels` that are whole numbers in it")
    try:
        values = np.asarray(labels, None if isinstance(labels, np.ndarray) else np.int64)
    except OverflowError:
        values = np.full(len(labels), -1)  # beyond any class
    return Labelled(_images(np.asarray(data)), checked_labels(values, len(data), len(CLASSES), path))


def binary_batch(content: bytes, path: Path) -> Labelled:
    """Records of 1 + 3072 bytes."""
    if not content or len(content) % (1 + _PIXELS):
        raise BrokenFileError(path, f"{len(content):,} bytes, no multiple of {1 + _PIXELS}")
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + _PIXELS)
    return Labelled(_images(records[:, 1:]), checked_labels(records[:, 0], len(records), len(CLASSES), path))


def _images(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(data.reshape(-1, CHANNELS, SIDE, SIDE).transpose(0, 2, 3, 1))


def _contents(files: dict[Path, bytes], decode: Callable[[bytes, Path], Labelled], form: str, original: bool) -> Contents:
    *train, test = (decode(content, path) for path, content in files.items())
    joined = Labelled(np.concatenate([part.images for part in train]), np.concatenate([part.labels for part in train]))
    return Contents(joined, test, f"{form}, original" if original else form)


def _unpacked(path: Path, names: tuple[str, ...], md5: str) -> tuple[dict[Path, bytes], bool]:
    """The files of these names in the tar, in this order, and whether the tar is the original."""
    files: dict[str, Any] = {}
    for member, content in archive.members(path, lambda member: PurePosixPath(member).name in names, _LIMIT):
        name = PurePosixPath(member).name
        if name in files:
            raise BrokenFileError(path, f"{name} in it twice")
        files[name] = content
    if missing := [name for name in names if name not in files]:
        raise BrokenFileError(path, f"no {missing[0]} in it")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return {path / name: files[name] for name in names}, found == md5
