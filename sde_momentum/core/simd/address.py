"""Compiled functions as arguments of compiled functions, by address.

Numba looks up the address of a function argument at every call, which takes longer than a step of a small problem.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from numba.core.types import WrapperAddressProtocol
from numba.experimental.function_type import _get_wrapper_address


class ByAddress(WrapperAddressProtocol):
    """A function compiled for one signature, for code that takes one of that signature as an argument."""

    def __init__(self, function: Any, signature: Any) -> None:
        self._function = function  # kept alive: the address is that of its machine code
        self._signature = signature
        self._address = _get_wrapper_address(function, signature)

    def __wrapper_address__(self) -> int:
        return self._address

    def signature(self) -> Any:
        """The Numba signature."""
        return self._signature


@lru_cache(maxsize=64)
def by_address(function: Any, signature: Any) -> ByAddress:
    """`ByAddress(function, signature)`, made once for each function."""
    return ByAddress(function, signature)
