"""Lines as mail protocols send them: CRLF at the end, a dot doubled at the beginning (RFC 5321 4.5.2, RFC 1939 3)."""

from __future__ import annotations


class DotStuffer:
    """Turns a stored message (LF lines) into its wire form, block by block; blocks may be cut anywhere.

    A CR in the message is data and stays. `at_line_start` is true before the first byte and after every LF, so at the
    end of a message it tells whether the last line was complete.
    """

    __slots__ = ("at_line_start",)

    def __init__(self) -> None:
        self.at_line_start = True

    def feed(self, block: bytes) -> bytes:
        """The wire form of the next block, which may be empty."""
        if not block:
            return b""
        wire = block.replace(b"\n.", b"\n..").replace(b"\n", b"\r\n")
        if self.at_line_start and block.startswith(b"."):
            wire = b"." + wire
        self.at_line_start = block.endswith(b"\n")
        return wire
