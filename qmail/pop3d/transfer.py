"""A message on its way to the client: dot-stuffed blocks, and for TOP the place to stop."""

from __future__ import annotations

from qmail.dotted import DotStuffer

END = b"\r\n.\r\n"
"""The extra empty line that qmail-pop3d always sends, and the final dot."""


class Transfer:
    """Turns the blocks of a file into the body of a RETR or TOP reply.

    `lines` limits the body lines after the header (None: the whole message). `done` becomes true when the limit is
    reached, so the rest need not be read.
    """

    __slots__ = ("_header", "_left", "_stuffer", "done")

    def __init__(self, lines: int | None = None) -> None:
        self._stuffer = DotStuffer()
        self._left = lines
        self._header = True
        self.done = False

    def feed(self, block: bytes) -> bytes:
        """The wire form of the next block of the file."""
        if self._left is not None:
            block = self._cut(block, self._left)
        return self._stuffer.feed(block)

    def finish(self) -> bytes:
        """What ends the reply; a last line without LF is completed."""
        return END if self._stuffer.at_line_start else b"\r\n" + END

    def _cut(self, block: bytes, left: int) -> bytes:
        """The part of the block that lies within the limit."""
        body = 0
        if self._header:
            body = self._end_of_header(block)
            if body < 0:
                return block
            self._header = False
        lines = block.count(b"\n", body)
        if lines < left:
            self._left = left - lines
            return block
        self.done = True
        if left == 0:
            return block[:body]
        rest = block[body:].split(b"\n", left)[-1]
        return block[: len(block) - len(rest)]

    def _end_of_header(self, block: bytes) -> int:
        """Where the first completely empty line of the message ends in this block, or -1."""
        if self._stuffer.at_line_start and block.startswith(b"\n"):
            return 1
        found = block.find(b"\n\n")
        return found + 2 if found >= 0 else -1
