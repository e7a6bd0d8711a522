"""Images as JPEG or PNG files in a tar for each part, sorted into a folder for each class: CLASS/NAME.jpg."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sde_momentum.core.progress import track

from . import archive
from .cache import cached
from .checks import BrokenFileError, Contents, Labelled

PARTS = ("train", "test")
FILES = tuple(tuple(f"{part}.tar{ending}" for ending in (".xz", ".gz", ".bz2", "")) for part in PARTS)
_LIMIT = 2**20  # bytes of an image file
_SUFFIXES = (".jpg", ".jpeg", ".png")


def read(paths: Sequence[Path], classes: tuple[str, ...], side: int) -> Contents:
    """The tars of the training and of the test part; images of `side` x `side` pixels in colour. Raises BrokenFileError.

    Images come in the order of the classes, then of their names. Decoded once, they stay in the user's cache.
    """
    arrays = cached(paths, lambda: _decode(paths, classes, side))
    train, test = (Labelled(arrays[f"{part}_images"], arrays[f"{part}_labels"]) for part in PARTS)
    return Contents(train, test, f"{arrays['format']} copy")


def _decode(paths: Sequence[Path], classes: tuple[str, ...], side: int) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    formats: set[str] = set()
    with track("decoding images", sum(path.stat().st_size for path in paths)) as advance:
        for part, path in zip(PARTS, paths, strict=True):
            images, labels = _part(path, part, classes, side, formats, advance)
            arrays |= {f"{part}_images": images, f"{part}_labels": labels}
    # one JPEG is enough to call the set a lossy copy
    return arrays | {"format": np.array("JPEG" if "JPEG" in formats else "PNG")}


def _part(
    path: Path, part: str, classes: tuple[str, ...], side: int, formats: set[str], advance: Callable[[float], None]
) -> Labelled:
    found: dict[tuple[int, str], NDArray[np.uint8]] = {}
    for member, content in archive.members(path, _is_image, _LIMIT, advance):
        *above, folder, name = ("", *PurePosixPath(member).parts)
        if folder not in classes:
            raise BrokenFileError(path, f"{member} is in no folder of a class ({', '.join(classes)})")
        if above and above[-1] in PARTS and above[-1] != part:
            raise BrokenFileError(path, f"{member} is no {part} image")
        place = classes.index(folder), name
        if place in found:
            raise BrokenFileError(path, f"{member} in it twice")
        found[place] = _pixels(content, side, path, member, formats)
    if not found:
        raise BrokenFileError(path, "no images in it")
    places = sorted(found)
    return Labelled(np.stack([found[place] for place in places]), np.array([label for label, _ in places], np.int64))


def _is_image(member: str) -> bool:
    name = PurePosixPath(member).name
    return name.lower().endswith(_SUFFIXES) and not name.startswith(".")


def _pixels(content: bytes, side: int, path: Path, member: str, formats: set[str]) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            size, kind = image.size, str(image.format)
            # the size stands in the header: nothing large is decoded
            pixels = np.asarray(image.convert("RGB")) if size == (side, side) else None
    except Exception:  # Pillow raises many kinds for a broken image
        raise BrokenFileError(path, f"{member} is no readable image") from None
    if pixels is None:
        raise BrokenFileError(path, f"{member} has {size[0]} x {size[1]} pixels instead of {side} x {side}")
    formats.add(kind)
    return pixels
