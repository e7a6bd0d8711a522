"""The IDX format of MNIST and Fashion-MNIST (Xiao, Rasul, Vollgraf 2017), as it is or gzipped.

Two zero bytes, a type (8: unsigned bytes), the number of dimensions, each dimension in four bytes, big end first; the bytes.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .checks import BrokenFileError, Contents, Labelled, checked_labels, is_original, read_bytes

SIDE, N_CLASSES = 28, 10
# of the gz files, as torchvision and the authors' page give them
MD5 = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
FILES = tuple((name, name.removesuffix(".gz")) for name in MD5)
_LIMIT = 2**30  # bytes


def read(paths: Sequence[Path]) -> Contents:
    """Training images and labels, test images and labels, from files in the order of `FILES`. Raises BrokenFileError."""
    files = [read_bytes(path, _LIMIT) for path in paths]
    original = all(is_original(content, MD5.get(path.name)) for content, path in zip(files, paths, strict=True))
    train, test = (_part(paths[i], paths[i + 1], files[i], files[i + 1]) for i in (0, 2))
    return Contents(train, test, "IDX, original" if original else "IDX")


def _part(images_path: Path, labels_path: Path, images: bytes, labels: bytes) -> Labelled:
    pixels = decode(images, 3, images_path)
    if pixels.shape[1:] != (SIDE, SIDE):
        raise BrokenFileError(images_path, f"images of {pixels.shape[1]} x {pixels.shape[2]} pixels instead of {SIDE} x {SIDE}")
    return Labelled(pixels[..., None], checked_labels(decode(labels, 1, labels_path), len(pixels), N_CLASSES, labels_path))


def decode(content: bytes, dimensions: int, path: Path) -> NDArray[np.uint8]:
    """The array in the bytes of a file, which must be just as long as its header says. Raises BrokenFileError."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) if content[:2] == b"\x1f\x8b" else io.BytesIO(content) as file:
            header = file.read(4 * (dimensions + 1))
            if len(header) < 4 * (dimensions + 1):
                raise BrokenFileError(path, "ends within its header")
            magic, *shape = struct.unpack(f">{dimensions + 1}I", header)
            if magic != 0x0800 + dimensions:
                raise BrokenFileError(path, f"begins with 0x{magic:08x} instead of 0x{0x0800 + dimensions:08x}")
            size = math.prod(shape)
            if not 0 < size <= _LIMIT:
                raise BrokenFileError(path, f"a header of {' x '.join(map(str, shape))} bytes")
            data = file.read(size + 1)  # one more: the end must come, and with it the check of a gz file
    except (OSError, EOFError, zlib.error):
        raise BrokenFileError(path, "damaged, cannot be decompressed") from None
    if len(data) != size:
        raise BrokenFileError(
            path, f"{'fewer' if len(data) < size else 'more'} than the {size:,} bytes that its header announces"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)
