"""The core stays light."""

import subprocess
import sys


def test_import_pulls_in_neither_torch_nor_sympy_nor_matplotlib():
    code = "import sys, sde_momentum; sde_momentum.MatrixSensing; sde_momentum.solve; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "numba" in loaded  # the probe really loaded the library
    assert not {"torch", "sympy", "matplotlib"} & set(loaded)
