"""The envelope as qmail-queue reads it from descriptor 1 (delivery 2): checked as it comes, never held whole."""

from __future__ import annotations

from qmail.queue import codes
from qmail.queue.codes import LONGEST_ADDRESS, QueueError


class EnvelopeReader:
    """Feed bytes, get the complete records among them; `done` after the final NUL."""

    __slots__ = ("_rest", "_sender_seen", "done", "skip_scanner")

    def __init__(self) -> None:
        self._rest = b""
        self._sender_seen = False
        self.done = False
        self.skip_scanner = False

    def feed(self, data: bytes) -> bytes:
        """The records completed by `data`, as they stand in intd. Raises QueueError 91 or 11."""
        data = self._rest + data
        end = self._scan(data)
        self._rest = data[end:]
        return data[: end - 1] if self.done else data[:end]  # the final NUL or Q is no record of intd

    def _scan(self, data: bytes) -> int:
        """Position behind the last complete record; sets `done`."""
        at = 0
        while at < len(data):
            letter = data[at : at + 1]
            if not self._sender_seen:
                if letter != b"F":
                    raise QueueError(codes.BAD_ENVELOPE)
            elif letter in (b"\0", b"Q"):
                self.skip_scanner = letter == b"Q"
                self.done = True
                return at + 1
            elif letter != b"T":
                raise QueueError(codes.BAD_ENVELOPE)
            end = data.find(b"\0", at + 1, at + 1 + LONGEST_ADDRESS + 1)
            if end < 0:
                if len(data) - at - 1 > LONGEST_ADDRESS:
                    raise QueueError(codes.ADDRESS_TOO_LONG)
                return at
            self._sender_seen = True
            at = end + 1
        return at
