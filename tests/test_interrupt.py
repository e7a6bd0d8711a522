"""Control-C at any moment of a command: exit status 130 and one line, no traceback."""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import partial

import pytest

PROGRAM = """
import os, signal, sys

class Interrupt:
    "Comes when a module is imported."

    def find_spec(self, name, path=None, target=None):
        if name == module:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

module = sys.argv.pop(1)
sys.meta_path.insert(0, Interrupt())
from sde_momentum.commands.entry import main
main()
"""


@pytest.mark.parametrize(
    "module",
    ["sde_momentum.commands.main", "typer", "numpy", "derivations.cli", "numba", "sde_momentum.dynamics.solve", "xarray"],
)
def test_an_interrupt_while_modules_are_loaded_ends_in_one_line(module):
    words = [sys.executable, "-c", PROGRAM, module, "simulate", "--lr", "0.01", "--momentum", "0.9", "--steps", "10"]
    heard = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # which a shell's background ignores
    done = subprocess.run(words, capture_output=True, text=True, check=False, preexec_fn=heard)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "sde-momentum: interrupted\n")


LOST = """
import os, signal, sys, weakref

class Thing:
    pass

def end(_):
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):  # the interrupt is raised here, where Python cannot pass it on
        pass

class Lose:
    def find_spec(self, name, path=None, target=None):
        if name == "sde_momentum.dynamics.solve":
            sys.meta_path.remove(self)
            thing = Thing()
            kept = weakref.ref(thing, end)
            del thing

sys.meta_path.insert(0, Lose())
from sde_momentum.commands.entry import main
main()
"""


def test_an_interrupt_that_python_loses_comes_again():
    words = [sys.executable, "-c", LOST, "simulate", "--lr", "0.01", "--momentum", "0.9", "--steps", "100000000"]
    heard = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    done = subprocess.run(words, capture_output=True, text=True, check=False, preexec_fn=heard, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "sde-momentum: interrupted\n")
