"""When what is tried again (delivery 6.4): the retry arithmetic and the agenda of due times. No clock, no files.

Times are whole seconds since the epoch. A message is tried at 0, 100, 400, 900 … seconds of its age on the local channel,
at 0, 400, 1600, 3600 … on the remote one.
"""

from __future__ import annotations

import heapq
from math import isqrt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LOCAL, REMOTE = 0, 1
CHANNELS = (LOCAL, REMOTE)
CHANNEL_NAMES = ("local", "remote")
"""Name of a channel in the queue and in the log."""
SKIP = (10, 20)
"""How far the square root of a message's age moves from one attempt to the next."""
QUEUE_LIFETIME = 604800
SYSTEM_FAILURE = 123
"""Seconds until something is tried again that the system did not let us do."""
DIRECTORY_PATIENCE = 10
"""Seconds until a directory is read again that could not be read."""
FOREVER = 86400
TODO_INTERVAL = 1500
"""Seconds after which todo is looked at though nobody pulled the trigger."""
CLEANUP_INTERVAL = 76431
OSSIFIED = 129600
"""Age in seconds at which a message file that nothing refers to is garbage."""


def next_retry(birth: int, now: int, channel: int) -> int:
    """When an attempt begun now is followed by the next: birth + (floor(sqrt(age)) + skip)²."""
    return birth + (isqrt(max(0, now - birth)) + SKIP[channel]) ** 2


def is_dying(birth: int, now: int, lifetime: int) -> bool:
    """Whether an attempt begun now is the last one."""
    return now > birth + lifetime


class Agenda:
    """Messages by the time when they are due; equal times come in any order."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(due, number) of every entry, in no order."""
        return iter(self._heap)

    def add(self, number: int, due: int) -> None:
        """Enter message `number`."""
        heapq.heappush(self._heap, (due, number))

    def earliest(self) -> int | None:
        """When the first entry is due; None when there is none."""
        return self._heap[0][0] if self._heap else None

    def take(self, now: int) -> int | None:
        """Remove and return a message that is due by now, the longest due first; None when none is."""
        if self._heap and self._heap[0][0] <= now:
            return heapq.heappop(self._heap)[1]
        return None

    def all_due(self, now: int) -> None:
        """Make every entry due now."""
        self._heap = sorted((now, number) for _, number in self._heap)
