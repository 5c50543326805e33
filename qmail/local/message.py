"""The message of a delivery: a file on a descriptor, read from its beginning for every instruction."""

from __future__ import annotations

import os

from qserver.base.errors import Die, error_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 1 << 17


class Unreadable(Exception):
    """The message cannot be read; `error` says why."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


class Message:
    """An open message. The descriptor's position is shared with programs that get it as their input."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def rewind(self) -> None:
        """Go back to the beginning. Raises Die."""
        try:
            os.lseek(self.fd, 0, os.SEEK_SET)
        except OSError:
            raise Die("Unable to rewind message. (#4.3.0)") from None

    def blocks(self) -> Iterator[bytes]:
        """All that follows. Raises Unreadable."""
        while True:
            try:
                block = os.read(self.fd, BLOCK)
            except OSError as error:
                raise Unreadable(error) from None
            if not block:
                return
            yield block


def unable_to_read(trouble: Unreadable) -> Die:
    """The exception that ends a delivery because of it; to be raised."""
    return Die(f"Unable to read message: {error_text(trouble.error)}. (#4.3.0)")


def header_has(message: Message, line: bytes) -> bool:
    """Whether one line of the header, which ends at the first empty line, is `line` (with its newline). Raises Unreadable."""
    wanted = b"\n" + line
    held = b"\n"
    for block in message.blocks():
        held += block
        end = held.find(b"\n\n")
        if wanted in (held if end < 0 else held[: end + 1]):
            return True
        if end >= 0:
            return False
        held = held[-len(wanted) :]
    return False
