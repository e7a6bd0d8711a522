"""The core stays light."""

import subprocess
import sys

import pytest


def loaded(code):
    """The packages that are loaded once this code has run in a process of its own."""
    code = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    ("code", "expected", "absent"),
    [
        ("import sde_momentum", "sde_momentum", {"numpy", "scipy", "numba", "xarray", "torch", "sympy", "matplotlib"}),
        ("import sde_momentum; sde_momentum.MatrixSensing; sde_momentum.solve", "numba", {"torch", "sympy", "matplotlib"}),
    ],
)
def test_what_is_imported_is_what_is_used(code, expected, absent):
    found = loaded(code)
    assert expected in found  # the probe really loaded the library
    assert not absent & found
