"""Entry point of `sde-momentum`: an interrupt ends the command in one line from its imports on, which take a second."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import Any, NoReturn


def _stop(*_: Any) -> NoReturn:
    """End this process at once: nothing has been begun, or all that was begun has been put away."""
    with suppress(OSError):
        os.write(2, b"sde-momentum: interrupted\n")
    os._exit(130)


def main() -> None:
    """Run the command line."""
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not by what a shell has put in the background
    if heard:
        signal.signal(signal.SIGINT, _stop)
    from . import main as command

    with suppress(Exception):  # which the command tells in its own way
        command._add_commands()
    if heard:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        command.main()
    except KeyboardInterrupt:
        status: Any = 130
    except SystemExit as end:
        status = end.code
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # threads that still compute must not be waited for, nor interrupted again
    if status == 130:
        with suppress(OSError):
            sys.stdout.flush()
        _stop()
    sys.exit(status)
