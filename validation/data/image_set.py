"""Labelled images in a training and a test part, and what an experiment makes of them: subsets, pooled and standardised."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sde_momentum.core.errors import InputError, check_integer

_CHUNK = 1000  # images turned to double precision at a time
_TRAIN, _TEST = 0, 1  # which part a seed draws for


class Arrays(NamedTuple):
    """Standardised inputs (n, channels, h, w) and labels (n,), as `ImageSet.arrays` gives them."""

    train_inputs: NDArray[np.floating[Any]]
    train_labels: NDArray[np.int64]
    test_inputs: NDArray[np.floating[Any]]
    test_labels: NDArray[np.int64]


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """Images with one label each. The arrays are read-only.

    Attributes:
        train_images: (n, h, w, channels), uint8; float32 once they are pooled
        train_labels: (n,), int64, indices into `classes`
        test_images: as `train_images`, of the same h, w and channels
        test_labels: as `train_labels`
        classes: names of the classes
        source: which images, and in what form they were read, for a report

    Raises InputError for arrays that do not fit together.

    >>> images = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4, 1)
    >>> ImageSet(images, np.array([0, 1]), images, np.array([0, 1]), ("low", "high"), "a ramp")
    a ramp: 2 training and 2 test images, 4 x 4 x 1, 2 classes
    """

    train_images: NDArray[Any]
    train_labels: NDArray[np.int64]
    test_images: NDArray[Any]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            images, labels = getattr(self, f"{part}_images"), getattr(self, f"{part}_labels")
            if images.ndim != 4 or images.dtype not in (np.uint8, np.float32) or not images.size:
                given = f"shape {images.shape}, {images.dtype}"
                raise InputError(f"{part}_images", given, "(n, h, w, channels), uint8 or float32, not empty")
            if images.shape[1:] != self.train_images.shape[1:]:
                raise InputError(
                    f"{part}_images", f"shape {images.shape}", f"as for training: (n, *{self.train_images.shape[1:]})"
                )
            if labels.shape != images.shape[:1] or labels.dtype != np.int64:
                raise InputError(f"{part}_labels", f"shape {labels.shape}, {labels.dtype}", f"shape ({len(images)},), int64")
            if labels.min() < 0 or labels.max() >= len(self.classes):
                raise InputError(f"{part}_labels", f"{labels.min()} to {labels.max()}", f"0 to {len(self.classes) - 1}")
            for name, array in ((f"{part}_images", images), (f"{part}_labels", labels)):
                view = array.view()
                view.flags.writeable = False
                object.__setattr__(self, name, view)

    def __repr__(self) -> str:
        n_train, n_test = len(self.train_images), len(self.test_images)
        shape = " x ".join(map(str, self.train_images.shape[1:]))
        return f"{self.source}: {n_train:,} training and {n_test:,} test images, {shape}, {len(self.classes)} classes"

    @cached_property
    def checksum(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of every pixel and label, in their order."""
        total = hashlib.sha256()
        for array in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
            total.update(f"{plain.shape} {plain.dtype.str}".encode())
            total.update(plain.data)
        return total.hexdigest()[:16]

    def subset(self, n_train: int, n_test: int, seed: int) -> ImageSet:
        """Random images of each part, the classes in equal numbers: they differ by one at most, until a class is used up.

        The order is random too, and every beginning of it is balanced. A smaller subset of the same seed is the
        beginning of a larger one. Depends on the arguments and on the order of the images alone.

        Arguments: `n_train`, `n_test`: images, from 1 to what there are; `seed`: whole number >= 0. Raises InputError.
        """
        check_integer(seed, "seed", 0)
        train = _draw("n_train", n_train, self.train_labels, (seed, _TRAIN), self.source)
        test = _draw("n_test", n_test, self.test_labels, (seed, _TEST), self.source)
        return replace(
            self,
            train_images=self.train_images[train],
            train_labels=self.train_labels[train],
            test_images=self.test_images[test],
            test_labels=self.test_labels[test],
        )

    def pooled(self, factor: int) -> ImageSet:
        """Each block of `factor` x `factor` pixels replaced by its mean, in float32 on the same scale of grey.

        Not rounded back to uint8: that would add noise to every pixel. Raises InputError unless `factor` divides h and w.
        """
        check_integer(factor, "factor", 1)
        h, w = self.train_images.shape[1:3]
        if h % factor or w % factor:
            raise InputError("factor", factor, f"a divisor of {h} and {w}")
        return replace(self, train_images=_pool(self.train_images, factor), test_images=_pool(self.test_images, factor))

    def statistics(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of each channel over all training pixels, (channels,) each, on the scale of the pixels."""
        n = self.train_images[..., 0].size
        mean = np.asarray(sum(chunk.sum(axis=(0, 2, 3)) for chunk in _chunks(self.train_images)) / n)
        off = mean[:, None, None]
        square = sum(((chunk - off) ** 2).sum(axis=(0, 2, 3)) for chunk in _chunks(self.train_images)) / n
        return mean, np.sqrt(square)

    def arrays(self, dtype: DTypeLike = np.float32) -> Arrays:
        """Both parts, channels first, less the mean and over the standard deviation of the training pixels of each channel.

        `dtype`: float32 or float64. Raises InputError for another one, and if a channel is of one shade throughout.
        """
        kind = np.dtype(dtype)
        if kind not in (np.float32, np.float64):
            raise InputError("dtype", kind, "float32 or float64")
        mean, std = self.statistics()
        if not np.all(std > 0):
            raise InputError("train_images", f"channel {np.argmin(std)} of one shade throughout", "images that differ")
        inputs = []
        for images in (self.train_images, self.test_images):
            n, h, w, channels = images.shape
            out = np.empty((n, channels, h, w), kind)
            for i, chunk in enumerate(_chunks(images)):
                out[i * _CHUNK : (i + 1) * _CHUNK] = (chunk - mean[:, None, None]) / std[:, None, None]
            inputs.append(out)
        return Arrays(inputs[0], self.train_labels.copy(), inputs[1], self.test_labels.copy())


def balanced_order(labels: NDArray[np.int64], seed: tuple[int, int]) -> NDArray[np.intp]:
    """A random order of the images in which every beginning holds the classes in equal numbers, as long as they last.

    Each class is shuffled; then come the first ones of every class, the second ones, and so on.

    >>> labels = np.array([0, 0, 0, 1, 1, 1, 1])
    >>> labels[balanced_order(labels, (0, 0))[:6]].sum()
    np.int64(3)
    """
    # random_raw: numpy promises the words of a bit generator for good, but not the permutations made of them
    shuffled = np.argsort(np.random.Philox(list(seed)).random_raw(len(labels)), kind="stable")
    rank = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels[shuffled] == label)
        rank[members] = np.arange(len(members))
    return shuffled[np.argsort(rank, kind="stable")]


def _draw(argument: str, n: int, labels: NDArray[np.int64], seed: tuple[int, int], source: str) -> NDArray[np.intp]:
    if check_integer(n, argument, 1) > len(labels):
        raise InputError(argument, n, f"at most the {len(labels)} images of {source}")
    return balanced_order(labels, seed)[:n]


def _chunks(images: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    """Successive images (n, channels, h, w) in double precision: all at once would need eight times the memory of the set."""
    for i in range(0, len(images), _CHUNK):
        yield images[i : i + _CHUNK].transpose(0, 3, 1, 2).astype(np.float64, order="C")


def _pool(images: NDArray[Any], factor: int) -> NDArray[np.float32]:
    n, h, w, channels = images.shape
    blocks = images.reshape(n, h // factor, factor, w // factor, factor, channels)
    means: NDArray[np.float64] = blocks.mean(axis=(2, 4), dtype=np.float64)
    return means.astype(np.float32)
