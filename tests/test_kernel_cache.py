"""Machine code on disk: damage and missing folders cost a compilation, and nobody else's code is run."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sde_momentum
from sde_momentum import InputError
from sde_momentum.core import compile as compiling
from sde_momentum.core.simd import cache

SOURCE = """
from numba import float64
from sde_momentum.core.compile import njit

@njit(float64(float64), cache=CACHE)
def double(x):
    return 2 * x
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SDE_MOMENTUM_CACHE", str(tmp_path))
    return tmp_path


def hits():
    """Whether a new process would find the machine code on disk; what it computes is right in any case."""
    for name in [name for name in sys.modules if name.startswith("sde_momentum_kernel_") and SOURCE_KEY in name]:
        del sys.modules[name]
    double = cache.load(SOURCE).double
    assert double(1.5) == 3.0
    return sum(double.stats.cache_hits.values())


SOURCE_KEY = cache._key(SOURCE, "", ())


@pytest.mark.parametrize("ending", [".nbi", ".nbc", ".py"])
def test_a_damaged_file_is_written_again(folder, ending):
    assert [hits(), hits()] == [0, 1]
    (file,) = folder.rglob(f"*{ending}")
    whole = file.read_bytes()
    flipped = [bytes([*whole[:i], whole[i] ^ 16, *whole[i + 1 :]]) for i in range(0, len(whole), len(whole) // 7)]
    for damaged in (b"", whole[: len(whole) // 2], os.urandom(len(whole)), *flipped):
        file.write_bytes(damaged)
        hits()
        assert hits() == 1
    assert not list(folder.rglob("*.pyc"))  # which have no checksum


def test_a_full_disk_costs_the_cache_alone(folder, monkeypatch):
    def full(path, write):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(compiling, "write_whole", full)
        assert [hits(), hits()] == [0, 0]
        patched.setattr(cache, "write_whole", full)
        next(folder.glob("*.py")).unlink()
        assert hits() == 0
    assert [hits(), hits()] == [0, 1]


def test_without_a_home_kernels_are_kept_for_the_process(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SDE_MOMENTUM_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    hits()
    assert cache.directory().stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("part", [".", "__pycache__"])
def test_a_folder_that_others_can_write_is_refused(folder, part):
    hits()
    (folder / part).chmod(0o777)
    with pytest.raises(InputError, match=r"^SDE_MOMENTUM_CACHE: given .*, which others can write.*; allowed: a folder.*\)$"):
        hits()
    (folder / part).chmod(0o755)
    assert hits() == 1


def test_numbas_own_folder_is_refused_too_if_others_can_write_it(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    code = "import os; os.umask(0)\nfrom sde_momentum.core import moments"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "InputError: NUMBA_CACHE_DIR: given" in done.stderr.splitlines()[-1]


def test_without_numbas_compiler_one_line_says_so():
    command = [sys.executable, "-m", "sde_momentum", "simulate", "--lr", "0.01", "--momentum", "0.9"]
    done = subprocess.run(command, env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "NUMBA_DISABLE_JIT: given 1; allowed: 0, or unset" in done.stderr


def test_every_kernel_that_is_kept_on_disk_has_checksums():
    root = Path(sde_momentum.__file__).parents[1]
    for file in (file for part in ("sde_momentum", "derivations", "validation") for file in (root / part).rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if re.search(r'\bcache(": |=)(True|CACHE)', text):
            assert "compile import njit" in text, file
            assert not any("njit" in line for line in text.splitlines() if line.startswith("from numba import")), file
