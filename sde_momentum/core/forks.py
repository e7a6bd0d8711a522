"""A process that is forked while another thread compiles: the child finds no lock held by a thread that it does not have.

A fork waits until the compilation is over, for numba's own structures would be half made in the child. Locks of values that were
being computed are new in the child, which computes them itself.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
from contextlib import ExitStack

from llvmlite.binding import ffi
from numba.core.compiler_lock import global_compiler_lock

_COMPILING = (global_compiler_lock, ffi.lib._lock)
_own: list[threading.Lock] = []
_held = ExitStack()


def lock() -> threading.Lock:
    """A lock around compilation, taken before numba's and those made before it: a fork waits for it."""
    _own.insert(0, made := threading.Lock())
    return made


def _wait() -> None:
    for one in (*_own, *_COMPILING):
        _held.enter_context(one)


def _go_on() -> None:
    _held.close()


def _begin_anew() -> None:
    _go_on()
    # before Python 3.12 a cached property has a lock for all objects of its class
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("sde_momentum", "derivations", "validation"):
            for kind in vars(module).values():
                for value in vars(kind).values() if isinstance(kind, type) else ():
                    if isinstance(value, functools.cached_property) and hasattr(value, "lock"):
                        value.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_wait, after_in_parent=_go_on, after_in_child=_begin_anew)
