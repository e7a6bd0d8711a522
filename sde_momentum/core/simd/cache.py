"""Compiled kernels on disk: each generated module under a name that is a hash of its text and of what compiles it.

The directory is $SDE_MOMENTUM_CACHE, or else ~/.cache/sde_momentum. numba keeps the machine code beside the
module, so that a second process compiles nothing.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import llvmlite
import numba
import numpy as np

from ..compile import check_private
from ..files import write_whole
from ..forks import lock
from . import functions, lanes, operators, rows, words

_LOCK = lock()
"""Threads load kernels at the same time: one imports, the others wait."""


def directory() -> Path:
    """The directory of the modules; where it cannot be written, a temporary one of this process.

    Raises InputError for one that others can write: whoever writes there has his code run.
    """
    try:
        chosen = Path(os.environ.get("SDE_MOMENTUM_CACHE") or Path.home() / ".cache" / "sde_momentum")
        chosen.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(chosen, os.W_OK | os.X_OK):
            return _own_directory()
    except (OSError, RuntimeError):  # RuntimeError: no home
        return _own_directory()
    for folder in (chosen, chosen / "__pycache__"):
        if folder.exists():
            check_private(folder, "SDE_MOMENTUM_CACHE")
    return chosen


@cache
def _own_directory() -> Path:
    return Path(tempfile.mkdtemp(prefix="sde_momentum-"))


def load(
    source: str, names: Mapping[str, Any] | None = None, identity: str | None = "", uses: Sequence[ModuleType] = ()
) -> ModuleType:
    """The module whose text is `source`, imported once per process. Threads and processes may do so at once.

    `names` are defined before the text is executed, and so is CACHE, the value for numba's `cache`. `identity`: a hash of
    `names`; None if there is none: the module is then kept in memory only. `uses`: modules whose code is compiled into it.
    """
    with _LOCK:
        if identity is not None:
            try:
                return _load(f"sde_momentum_kernel_{_key(source, identity, uses)}", source, names or {})
            except (ModuleNotFoundError, OSError):
                pass  # the machine code on disk refers to a module that this process does not have; the disk is full
        module = ModuleType("sde_momentum_kernel")
        module.__dict__.update(names or {}, CACHE=False)
        exec(source, module.__dict__)
        return module


def refuse(source: str, identity: str) -> None:
    """Record on disk that the text does not compile with the names of this identity."""
    _write(_refusal(source, identity), "does not compile\n")


def is_refused(source: str, identity: str) -> bool:
    """Whether `refuse` has recorded this text and identity, with the same versions."""
    return _refusal(source, identity).is_file()


def _refusal(source: str, identity: str) -> Path:
    return directory() / f"sde_momentum_kernel_{_key(source, identity, ())}.refused"


def _load(name: str, source: str, names: Mapping[str, Any]) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    path = directory() / f"{name}.py"
    if not path.is_file() or path.read_bytes() != source.encode():
        _write(path, source)
    module = ModuleType(name)
    module.__file__ = str(path)
    module.__dict__.update(names, CACHE=True)
    sys.modules[name] = module
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)  # not by import, which would trust Python's own cache beside it
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _key(source: str, identity: str, uses: Sequence[ModuleType]) -> str:
    """Hash of the text, of the versions, and of the modules whose code is compiled into the kernel."""
    parts = [source, identity, numba.__version__, llvmlite.__version__, np.__version__, sys.version]
    parts += [
        Path(str(module.__file__)).read_text(encoding="utf-8") for module in (lanes, functions, operators, rows, words, *uses)
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _write(path: Path, source: str) -> None:
    def write(file: IO[bytes]) -> None:
        file.write(source.encode())
        file.flush()
        # numba recompiles a module whose modification time changed; here only the text matters
        os.utime(file.name, (0, 0))

    write_whole(path, write)
