"""A message as it comes from a descriptor: its header fields one by one, then its body in blocks (delivery 9.1)."""

from __future__ import annotations

from qmail.inject.fields import is_field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NEWLINE = 10


class Message:
    """`read()` gives the next block, b"" at the end. Both iterators are to be used once, `fields` first, to its end.

    A last line without newline gets one.
    """

    __slots__ = ("_at", "_ended", "_first", "_held", "_read")

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._held = b""
        self._at = 0
        self._ended = False
        self._first = b""

    def fields(self) -> Iterator[bytes]:
        """Fields with their continuation lines and newlines; `From ` lines as MBOX-Line fields."""
        field: list[bytes] = []
        while line := self._line():
            if field and line[:1] in (b" ", b"\t"):
                field.append(line)
                continue
            if field:
                yield b"".join(field)
            field = [line]
            if line.startswith(b"From "):
                field = [b"MBOX-Line: ", line]
            elif not is_field(line):
                self._first = line if line == b"\n" else b"\n" + line
                return
        if field:
            yield b"".join(field)

    def body(self) -> Iterator[bytes]:
        """Everything from the empty line on; nothing when the message ended with its header."""
        block = self._first + self._held[self._at :]
        self._held = b""
        whole = True
        while block:
            whole = block[-1] == NEWLINE
            yield block
            block = self._block()
        if not whole:
            yield b"\n"

    def _block(self) -> bytes:
        """The next block; an end is asked for only once."""
        if self._ended:
            return b""
        block = self._read()
        self._ended = not block
        return block

    def _line(self) -> bytes:
        """The next line with its newline; b"" at the end."""
        parts: list[bytes] = []
        while True:
            end = self._held.find(b"\n", self._at) + 1
            if end:
                parts.append(self._held[self._at : end])
                self._at = end
                return b"".join(parts)
            parts.append(self._held[self._at :])
            self._held, self._at = self._block(), 0
            if not self._held:
                line = b"".join(parts)
                return line + b"\n" if line else b""
