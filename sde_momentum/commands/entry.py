"""Entry point of `sde-momentum`: an interrupt ends the command in one line from its imports on, which take a second."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from typing import Any, NoReturn


def _stop(*_: Any) -> NoReturn:
    """End this process at once: nothing has been begun, or all that was begun has been put away."""
    with suppress(OSError):
        os.write(2, b"sde-momentum: interrupted\n")
    os._exit(130)


def _interrupt_again(found: Any, tell: Any = sys.unraisablehook) -> None:
    """An interrupt that came while Python ran the end of an object is lost, and would only be printed: it comes again."""
    if not issubclass(found.exc_type, KeyboardInterrupt):
        tell(found)
        return
    again = threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGINT))
    again.daemon = True
    again.start()


def main() -> None:
    """Run the command line."""
    sys.unraisablehook = _interrupt_again
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
