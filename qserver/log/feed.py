"""From blocks of input to lines, and from lines to the actions of a script (daemontools 10.2).

Blocks stay whole wherever they can: a directory that gets every line gets them in one piece, and lines are only taken apart
for patterns. A line that never ends is held until its first 1000 bytes have decided where it goes; the rest passes through.
"""

from __future__ import annotations

from qserver.log.batch import Batch
from qserver.log.patterns import CONSIDERED
from qserver.log.stamps import before_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from qserver.log.patterns import Selection

    class Taker(Protocol):
        """Takes selected lines; of long ones it minds the first 1000 bytes."""

        def put(self, batch: Batch) -> None: ...

    class Log(Protocol):
        """Takes selected lines as bytes, whole, with their newlines."""

        def write(self, data: bytes) -> None: ...


class Feeder:
    """What happens to the input of multilog: `takers` and `logs` with what each selects; `stamp` gives the time stamp."""

    __slots__ = ("_held", "_logs", "_passing", "_stamp", "_takers", "_within")

    def __init__(
        self,
        stamp: Callable[[], bytes] | None,
        takers: list[tuple[Selection, Taker]],
        logs: list[tuple[Selection, Log]],
    ) -> None:
        self._stamp = stamp
        self._takers = takers
        self._logs = logs
        self._held = b""
        self._passing: list[Log] = []
        self._within = False

    @property
    def within_line(self) -> bool:
        """Whether the last byte fed was not the end of a line."""
        return self._within

    def feed(self, block: bytes) -> None:
        """Process the next bytes of the input."""
        begun = self._within
        self._within = not block.endswith(b"\n")
        if begun and not self._held:
            end = block.find(b"\n") + 1
            self._pass(block[: end or len(block)])
            if not end:
                return
            block = block[end:]
            begun = False
        if self._stamp is not None and block:
            block = before_lines(self._stamp(), block, within_line=begun)
        if self._held:
            block = self._held + block
        end = block.rfind(b"\n") + 1
        if end:
            self._dispatch(Batch(block[:end]))
        self._held = block[end:]
        if len(self._held) >= CONSIDERED:
            self._begin_long()

    def finish(self) -> None:
        """The end of the input: a line that was begun counts as one."""
        if self._within:
            self.feed(b"\n")

    def _dispatch(self, batch: Batch) -> None:
        """Hand complete lines to the actions."""
        for selection, taker in self._takers:
            selected = selection.select(batch)
            if selected is not None:
                taker.put(selected)
        for selection, log in self._logs:
            selected = selection.select(batch)
            if selected is not None:
                log.write(selected.data)

    def _begin_long(self) -> None:
        """A line that is long enough to be decided upon: its end goes where its start went."""
        batch = Batch(None, [self._held])
        for selection, taker in self._takers:
            if selection.select(batch) is not None:
                taker.put(batch)
        self._passing = [log for selection, log in self._logs if selection.select(batch) is not None]
        self._pass(self._held)
        self._held = b""

    def _pass(self, data: bytes) -> None:
        for log in self._passing:
            log.write(data)
