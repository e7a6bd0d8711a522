"""The sets by name: from the user's folder, checked, or the digits that come with scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from sde_momentum.core.errors import InputError

from . import cifar, idx, image_tar
from .checks import BrokenFileError
from .digits import digits
from .folder import VARIABLE, Form, data_folder, find
from .image_set import ImageSet


@dataclass(frozen=True)
class _Distribution:
    title: str
    url: str
    hint: str
    classes: tuple[str, ...]
    n_images: tuple[int, int]  # training and test
    forms: tuple[Form, ...]  # the better one first

    @property
    def wanted(self) -> str:
        files = " or ".join(form.looks_like for form in self.forms)
        return f"a folder with {self.title} in it ({files}), from {self.url}"


_SETS = {
    "fashion-mnist": _Distribution(
        title="FashionMNIST",
        url="https://github.com/zalandoresearch/fashion-mnist",
        hint="fashion",
        classes=(*("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"), *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")),
        n_images=(60_000, 10_000),
        forms=(Form(", ".join(names[0] for names in idx.FILES), idx.FILES, idx.read),),
    ),
    "cifar-10": _Distribution(
        title="CIFAR-10",
        url="https://www.cs.toronto.edu/~kriz/cifar.html",
        hint="cifar",
        classes=cifar.CLASSES,
        n_images=(50_000, 10_000),
        forms=(
            Form(cifar.PYTHON_ARCHIVE, ((cifar.PYTHON_ARCHIVE,),), cifar.read_python_archive),
            Form("cifar-10-batches-py", tuple((name,) for name in cifar.PYTHON_FILES), cifar.read_python),
            Form(cifar.BINARY_ARCHIVE, ((cifar.BINARY_ARCHIVE,),), cifar.read_binary_archive),
            Form("cifar-10-batches-bin", tuple((name,) for name in cifar.BINARY_FILES), cifar.read_binary),
            Form(
                "train.tar.xz and test.tar.xz of images",
                image_tar.FILES,
                partial(image_tar.read, classes=cifar.CLASSES, side=cifar.SIDE),
            ),
        ),
    ),
}

#: What `load_images` and `default_images` know.
NAMES = (*_SETS, "digits")


def load_images(name: str, folder: Path | None = None) -> ImageSet:
    """The images called `name`, all of them, checked.

    Arguments:
        name: "fashion-mnist", "cifar-10" or "digits"
        folder: holds the files, or has them in a folder one or two levels below; None: that of SDE_MOMENTUM_DATA.
            "digits" need none.

    Sizes, headers and labels must be right, and every class must have as many images as the others. `source` says in
    what form the images were read; with "original" where the published checksums match, with "incomplete" where there are
    fewer images than in the original. Raises InputError, which says what is wrong and where to get the files.
    """
    given = _given(name, folder)
    if name == "digits":
        return digits()
    if given is None:
        raise InputError("--data", f"nothing, and no {VARIABLE}", _SETS[name].wanted)
    return _read(_SETS[name], *given)


def default_images(name: str, folder: Path | None = None) -> ImageSet:
    """As `load_images`, but the digits where no folder is given, neither here nor by SDE_MOMENTUM_DATA.

    A folder that is given must hold the images: nothing takes their place unasked. `source` says which they are.
    """
    return digits() if _given(name, folder) is None else load_images(name, folder)


def _given(name: str, folder: Path | None) -> tuple[str, Path] | None:
    if name not in NAMES:
        raise InputError("images", name, ", ".join(NAMES))
    return None if name == "digits" else data_folder(folder)


def _read(what: _Distribution, argument: str, folder: Path) -> ImageSet:
    form, paths = find(argument, folder, what.forms, what.hint, what.wanted)
    intact = f"intact files of {what.title}, from {what.url}"
    try:
        train, test, how = form.read(paths)
    except BrokenFileError as error:
        raise InputError(argument, error.given, intact) from None
    for part in (train, test):
        counts = np.bincount(part.labels, minlength=len(what.classes))
        if counts.min() != counts.max():
            least, most = (f"{counts[i]:,} of {what.classes[i]}" for i in (counts.argmin(), counts.argmax()))
            raise InputError(argument, f"{least} but {most} (in {paths[0].parent})", f"as many images of each class; {intact}")
    complete = (len(train.labels), len(test.labels)) == what.n_images
    source = f"{what.title} ({how})" if complete else f"{what.title} ({how}, incomplete)"
    return ImageSet(train.images, train.labels, test.images, test.labels, what.classes, source)
