"""multilog's reading: what it may take from its input when, and what TERM and ALRM do about it (daemontools 10.8)."""

from __future__ import annotations

import os
import select

from qserver.base import heap
from qserver.base.signals import SIGALRM, SIGTERM, WakeUp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from qserver.log.feed import Feeder

BLOCK = 65536
WORKING_SPACE = 12
"""Blocks of memory that a block passes through on its way, generously."""
CAUGHT = (SIGALRM, SIGTERM)


def run(feeder: Feeder, rotate: Callable[[], None], wakeup: WakeUp) -> None:
    """Feed descriptor 0 to its end, or after TERM to the end of the line; a read error is the end. ALRM calls `rotate`.

    After TERM within a line bytes are read one by one, so that the next line is left for whoever reads next.
    """
    _kept = heap.reserve(BLOCK, WORKING_SPACE)
    poller = select.poll()
    poller.register(0, select.POLLIN)
    poller.register(wakeup.fileno(), select.POLLIN)
    limit = BLOCK
    while True:
        ready = poller.poll()
        if any(fd != 0 for fd, _ in ready):
            caught = wakeup.drain()
            if SIGALRM in caught:
                rotate()
            if SIGTERM in caught:
                limit = 1
        if limit == 1 and not feeder.within_line:
            break
        if any(fd == 0 for fd, _ in ready):
            block = _read(limit)
            if not block:
                break
            feeder.feed(block)
    feeder.finish()


def _read(limit: int) -> bytes:
    try:
        return os.read(0, limit)
    except OSError:
        return b""
