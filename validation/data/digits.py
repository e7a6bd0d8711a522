"""scikit-learn's digits (UCI, Alpaydin and Kaynak 1998): 1,797 images that are there without any download."""

from __future__ import annotations

from functools import cache

import numpy as np

from .image_set import ImageSet, balanced_order

N_TEST = 500
_SPLIT = (0, 0)  # seed of the division, the same for everyone


@cache
def digits() -> ImageSet:
    """1,297 training and 500 test images, 8 x 8 x 1, sixteen shades of grey, ten classes; 50 test images of each.

    >>> digits()
    digits (scikit-learn): 1,297 training and 500 test images, 8 x 8 x 1, 10 classes
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images, labels = bunch.images.astype(np.uint8)[..., None], bunch.target.astype(np.int64)
    order = balanced_order(labels, _SPLIT)
    test, train = order[:N_TEST], order[N_TEST:]
    names = tuple(str(name) for name in bunch.target_names)
    return ImageSet(images[train], labels[train], images[test], labels[test], names, "digits (scikit-learn)")
