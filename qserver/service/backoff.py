"""Patience with a service that keeps dying young: every restart waits twice as long as the one before, up to a cap."""

from __future__ import annotations

FIRST = 2.0
"""Seconds that the second restart in a row waits; the first one waits no longer than any restart."""


class Backoff:
    """How often in a row the service has died young. Times are seconds."""

    __slots__ = ("_deaths",)

    def __init__(self) -> None:
        self._deaths = 0

    def after(self, lived: float, cap: float, young: float) -> float:
        """The pause after a life of `lived`: 0, then 2, 4, 8 … up to `cap` while it dies before the age of `young`."""
        if lived >= young:
            self._deaths = 0
            return 0.0
        self._deaths += 1
        return 0.0 if self._deaths == 1 else float(min(cap, FIRST * 2.0 ** min(self._deaths - 2, 40)))

    def forget(self) -> None:
        """Someone has asked for a start: no grudge."""
        self._deaths = 0
