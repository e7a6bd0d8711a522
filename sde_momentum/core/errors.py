"""Bad input: the error, one line of argument, given and allowed, and the checks that raise it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


class InputError(ValueError):
    """One line: which argument, what was given, what is allowed.

    The command line prints it and exits with status 2; in Python it is a ValueError.

    >>> raise InputError("lr", -1, "a positive number")
    Traceback (most recent call last):
    sde_momentum.core.errors.InputError: lr: given -1; allowed: a positive number
    """

    def __init__(self, argument: str, given: object, allowed: str) -> None:
        self.argument, self.given, self.allowed = argument, given, allowed
        super().__init__(_one_line(f"{argument}: given {_short(given)}; allowed: {allowed}"))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its three parts: it can be raised in another process."""
        return type(self), (self.argument, self.given, self.allowed), self.__dict__


def _short(given: object) -> str:
    """The given value as text of one line, with control characters as Python writes them, cut to 120 characters.

    >>> _short("")
    "''"
    """
    text = _one_line(str(given)) or "''"
    return text if len(text) <= 120 else text[:117] + "..."


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text.replace("\n", " "))


def numbers(argument: str, value: object, allowed: str) -> NDArray[np.float64]:
    """Anything that is an array of real numbers, as float64; else an InputError."""
    try:
        array = np.asarray(value)
        # neither True, nor "0.1", nor 1j is meant as a number, nor None as NaN
        if array.dtype.kind in "bSUc" or (array.dtype.kind == "O" and any(entry is None for entry in array.flat)):
            raise TypeError
        return array.astype(np.float64, copy=False)
    except (TypeError, ValueError, OverflowError):
        raise InputError(argument, value, allowed) from None


def check_shape(argument: str, value: object, *sizes: int) -> NDArray[np.float64]:
    """An array (..., *sizes) of real numbers, NaN and infinities among them, as float64."""
    if type(value) is np.ndarray and value.dtype == np.float64 and value.shape[-len(sizes) :] == sizes:
        return value
    allowed = f"numbers of shape (..., {', '.join(map(str, sizes))})"
    array = numbers(argument, value, allowed)
    if array.shape[-len(sizes) :] != sizes:
        raise InputError(argument, f"shape {array.shape}", allowed)
    return array


def check(argument: str, value: ArrayLike, rule: Any, allowed: str) -> NDArray[np.float64]:
    """Return `value` as float64, or raise with the first element that breaks `rule` (an array predicate)."""
    array = numbers(argument, value, allowed)
    with np.errstate(invalid="ignore"):
        good = np.isfinite(array) & rule(array)
    if not np.all(good):
        raise InputError(argument, array[~good].flat[0] if array.ndim else array[()], allowed)
    return array


def check_lr(value: ArrayLike, argument: str = "lr") -> NDArray[np.float64]:
    """Learning rates: > 0, and neither so small nor so large that their squares leave the floating-point range."""
    positive = check(argument, value, lambda x: x > 0, "finite numbers > 0")
    return check(argument, positive, lambda x: (x >= 1e-100) & (x <= 1e100), "numbers from 1e-100 to 1e100")


def check_momentum(value: ArrayLike, argument: str = "momentum") -> NDArray[np.float64]:
    """Momenta: in [0, 1)."""
    return check(argument, value, lambda x: (x >= 0) & (x < 1), "numbers in [0, 1)")


def check_one_minus_beta(value: ArrayLike, argument: str = "one_minus_beta") -> NDArray[np.float64]:
    """1 - beta of momenta: in (0, 1]."""
    return check(argument, value, lambda x: (x > 0) & (x <= 1), "numbers in (0, 1]")


def check_positive(value: ArrayLike, argument: str) -> NDArray[np.float64]:
    """Any strictly positive finite quantity."""
    return check(argument, value, lambda x: x > 0, "finite numbers > 0")


def check_size(value: ArrayLike, argument: str) -> NDArray[np.float64]:
    """Any quantity >= 0 whose square is a floating-point number."""
    return check(argument, check_non_negative(value, argument), lambda x: x <= 1e100, "numbers from 0 to 1e100")


def check_non_negative(value: ArrayLike, argument: str) -> NDArray[np.float64]:
    """Any finite quantity >= 0."""
    return check(argument, value, lambda x: x >= 0, "finite numbers >= 0")


def check_one(check: Callable[[ArrayLike, str], NDArray[np.float64]], value: ArrayLike, argument: str) -> float:
    """One number that passes `check`, such as `check_positive`."""
    number = check(value, argument)
    if number.ndim:
        raise InputError(argument, f"shape {number.shape}", "one number")
    return float(number)


def check_integer(value: object, argument: str, minimum: int, maximum: int | None = None) -> int:
    """A whole number of at least `minimum`, and at most `maximum`."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int | np.integer)
        or not minimum <= value <= (value if maximum is None else maximum)
    ):
        upper = "" if maximum is None else f" and <= {maximum}"
        raise InputError(argument, value, f"a whole number >= {minimum}{upper}")
    return int(value)
