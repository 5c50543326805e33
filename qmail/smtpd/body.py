"""The message after 354: from SMTP's framing to a file with LF line ends, in large blocks (smtpd 12.5, 16.1). Pure.

Only CR LF `.` CR LF ends a message, and a bare LF ends the conversation, so that no client and server can disagree on
where one message stops and the next begins (CVE-2023-51764 and its family).
"""

from __future__ import annotations

END = b"\r\n.\r\n"
PARTIAL_ENDS = (END[:4], END[:3], END[:2], END[:1])
HOP_FIELDS = (b"\nreceived", b"\ndelivered")
HOP_CONTEXT = len(HOP_FIELDS[1]) - 1
MAX_HOPS = 100


class BareLineFeed(Exception):
    """A line feed without a carriage return before it."""


class Body:
    """Takes blocks cut anywhere, gives back what is to be stored.

    What might turn out to be the beginning of the end (up to four bytes) is kept for the next block; a message starts
    as if a CRLF had gone before it, so that every beginning of a line is preceded by one in the same block.
    """

    __slots__ = ("_at_start", "_kept", "rest", "size")

    def __init__(self) -> None:
        self._kept = END[:2]
        self._at_start = True
        self.size = 0
        self.rest: bytes | None = None
        """What came after the end; None until it was seen."""

    def feed(self, block: bytes) -> bytes:
        """The stored form of as much as is certain. Raises BareLineFeed."""
        data = self._kept + block
        dot = data.find(END[:3])
        end = data.find(END, dot) if dot >= 0 else -1
        if end >= 0:
            self.rest = data[end + len(END) :]
            text = data[: end + 2]
        else:
            self._kept = next((kept for kept in PARTIAL_ENDS if data.endswith(kept)), b"")
            text = data[: len(data) - len(self._kept)]
        return self._stored(text, dot >= 0)

    def _stored(self, text: bytes, dotted: bool) -> bytes:
        lines = text.count(b"\r\n")
        stored = text.replace(b"\r", b"")
        if len(text) - len(stored) != lines:  # a CR without LF is data; replacing pairs is the slower way
            stored = text.replace(b"\r\n", b"\n")
        if stored.count(b"\n") != lines:
            raise BareLineFeed
        if dotted:
            stored = _without_stuffing(stored)
        if self._at_start and stored:
            stored = stored[1:]
            self._at_start = False
        self.size += len(stored)
        return stored


def _without_stuffing(stored: bytes) -> bytes:
    """Take the first dot off every line that has one, except before a CR that ends no line (a quirk of djb's blast)."""
    if b"\n.\r" in stored:
        stored = stored.replace(b"\n.\r", b"\n..\r")
    return stored.replace(b"\n.", b"\n")


class HopCounter:
    """Counts the header's Received and Delivered fields in the stored form, block by block."""

    __slots__ = ("_context", "hops")

    def __init__(self) -> None:
        self._context: bytes | None = b"\n"
        self.hops = 0

    def see(self, stored: bytes) -> None:
        """Look at the next block; after the header's end nothing is looked at any more."""
        if self._context is None or not stored:
            return
        text = self._context + stored
        end = text.find(b"\n\n")
        header = (text if end < 0 else text[: end + 1]).lower()
        self.hops += sum(header.count(field) - self._context.count(field) for field in HOP_FIELDS)
        self._context = header[-HOP_CONTEXT:] if end < 0 else None

    @property
    def looping(self) -> bool:
        """Whether the message has passed too many hosts."""
        return self.hops >= MAX_HOPS
