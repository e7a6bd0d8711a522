"""Atomic writing of files, and values as JSON has them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any
from uuid import uuid4


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file by `write(file)`, then rename it to `path`: a file of this name is always complete.

    It is on the disk when this returns. Any number of threads and processes may write it at once: the last one stays.
    """
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            with suppress(OSError):  # some file systems have no such thing
                os.fsync(folder)
        finally:
            os.close(folder)


def json_value(x: Any) -> Any:
    """As JSON has it: lists for arrays, and None for a number that is not finite.

    >>> json_value([1.5, float("nan")]), json_value("trace_hessian")
    ([1.5, None], 'trace_hessian')
    """
    if hasattr(x, "tolist"):
        x = x.tolist()
    if isinstance(x, list):
        return [json_value(value) for value in x]
    return None if isinstance(x, float) and not math.isfinite(x) else x
