"""A process that is forked while another of its threads compiles and solves."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FORKS = """
import os, signal, threading, time
import sde_momentum as sm

def solve(rate):
    names = {}
    exec(f"def drift(x, t, p): return -{rate}.5 * x", names)
    equation = sm.SDE(names["drift"], lambda x, t, p: 1.0)
    return float(sm.sde.solve(equation, 1.0, [0.5], step=0.1, n_paths=64, progress=False)["mean"].item())

def forever():
    rate = 1_000
    while True:
        solve(rate := rate + 1)

expected = solve(1)  # imports what solving needs
threading.Thread(target=forever, daemon=True).start()
for _ in range(4):
    time.sleep(0.2)
    if not (child := os.fork()):
        signal.alarm(60)
        os._exit(0 if solve(1) == expected else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_of_a_process_that_compiles_solves_and_ends(tmp_path):
    environment = os.environ | {"SDE_MOMENTUM_CACHE": str(tmp_path)}
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS], check=True, timeout=240, env=environment)
