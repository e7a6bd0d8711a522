"""Compiled kernels on disk: each generated module under a name that is a hash of its text and of what compiles it.

The directory is $SDE_MOMENTUM_CACHE, or else ~/.cache/sde_momentum. numba keeps the machine code beside the
module, so that a second process compiles nothing.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import llvmlite
import numba
import numpy as np

from . import functions, lanes, operators, words

_LOCK = threading.Lock()
"""Threads load kernels at the same time: one imports, the others wait."""


def directory() -> Path:
    """The directory of the modules; where it cannot be written, a temporary one of this process."""
    chosen = Path(os.environ.get("SDE_MOMENTUM_CACHE") or Path.home() / ".cache" / "sde_momentum")
    try:
        chosen.mkdir(parents=True, exist_ok=True)
        if os.access(chosen, os.W_OK | os.X_OK):
            return chosen
    except OSError:
        pass
    return _own_directory()


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
            except ModuleNotFoundError:
                pass  # the machine code on disk refers to a module that this process does not have
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
    if not path.is_file() or path.read_text(encoding="utf-8") != source:
        _write(path, source)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:  # only a broken importer gives none for a .py file
        raise ImportError(f"cannot import {path}")
    module = importlib.util.module_from_spec(spec)
    module.__dict__.update(names, CACHE=True)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _key(source: str, identity: str, uses: Sequence[ModuleType]) -> str:
    """Hash of the text, of the versions, and of the modules whose code is compiled into the kernel."""
    parts = [source, identity, numba.__version__, llvmlite.__version__, np.__version__, sys.version]
    parts += [Path(str(module.__file__)).read_text(encoding="utf-8") for module in (lanes, functions, operators, words, *uses)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _write(path: Path, source: str) -> None:
    """Write atomically: a reader sees the whole text or no file."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(source)
        # numba recompiles a module whose modification time changed; here only the text matters
        os.utime(name, (0, 0))
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
