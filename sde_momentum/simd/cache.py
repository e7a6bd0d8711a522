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
from functools import cache
from pathlib import Path
from types import ModuleType

import llvmlite
import numba
import numpy as np

from ..problems import base
from . import functions, lanes

_LOCK = threading.Lock()
"""The simulator's threads ask for their kernels at the same time: one imports, the others wait."""


def directory() -> Path:
    """Where the modules lie; a directory of this process alone where that cannot be written."""
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


def load(source: str) -> ModuleType:
    """The module whose text is `source`, imported once per process. Threads and processes may do so at once."""
    with _LOCK:
        return _load(f"sde_momentum_kernel_{_key(source)}", source)


def _load(name: str, source: str) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    path = directory() / f"{name}.py"
    if not path.is_file() or path.read_text(encoding="utf-8") != source:
        _write(path, source)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:  # only a broken importer gives none for a .py file
        raise ImportError(f"cannot import {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _key(source: str) -> str:
    """Hash of the text, of the versions, and of the modules whose code is compiled into the kernel."""
    parts = [source, numba.__version__, llvmlite.__version__, np.__version__, sys.version]
    parts += [Path(str(module.__file__)).read_text(encoding="utf-8") for module in (lanes, functions, base)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


def _write(path: Path, source: str) -> None:
    """All or nothing: a reader sees the whole text or no file."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(source)
        # numba takes a module whose time has changed for another one; the text alone decides here
        os.utime(name, (0, 0))
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
