"""Ctrl-C ends a stage within two seconds and with one line, from the first import on."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

INTERRUPTED = 130  # the exit status of what Ctrl-C has stopped
_PATIENCE = 1.0  # seconds that a stage has to clean up after Ctrl-C


def stop(*_: Any) -> NoReturn:
    """Say how to go on, and end at once: what is unfinished is no result, and the next run deletes it."""
    os.write(2, b"\nstopped; results that are whole stay, and `dvc repro` goes on from there\n")
    os._exit(INTERRUPTED)


def _stop_in_time() -> None:
    """Have Ctrl-C end this process within two seconds, while modules are imported or a long computation runs too.

    Python itself looks at signals between two of its instructions alone; the number of one is written to a socket at
    once, and a thread reads it there.
    """
    reads, writes = socket.socketpair()
    writes.setblocking(False)
    signal.set_wakeup_fd(writes.detach(), warn_on_full_buffer=False)  # detached, it is open as long as the process

    def watch() -> None:
        for number in iter(lambda: reads.recv(1), b""):
            if number[0] == signal.SIGINT:
                threading.Event().wait(_PATIENCE)
                stop()

    threading.Thread(target=watch, daemon=True).start()
    usual = sys.excepthook
    sys.excepthook = lambda kind, *rest: stop() if kind is KeyboardInterrupt else usual(kind, *rest)


if Path(sys.argv[0]).resolve().parent == Path(__file__).resolve().parent:  # and not in a test's process
    _stop_in_time()
