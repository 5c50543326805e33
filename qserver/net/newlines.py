"""CR and LF: what addcr, delcr and fixcrio make of a stream (ucspi 11). Each converts it block by block."""

from __future__ import annotations


class AddCr:
    """A CR before every LF, also where there is one."""

    __slots__ = ()

    def convert(self, block: bytes) -> bytes:
        """What becomes of the next bytes."""
        return block.replace(b"\n", b"\r\n")

    def rest(self) -> bytes:
        """What is left to say at the end."""
        return b""


class DelCr:
    """One CR right before an LF is dropped; one at the end of the stream stays."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def convert(self, block: bytes) -> bytes:
        """What becomes of the next bytes; a CR at their end waits for what follows it."""
        block = self._held + block
        self._held = b"\r" if block.endswith(b"\r") else b""
        return block[: len(block) - len(self._held)].replace(b"\r\n", b"\n")

    def rest(self) -> bytes:
        """A CR that nothing followed."""
        held, self._held = self._held, b""
        return held


class FixCr:
    """A CR before every LF that has none."""

    __slots__ = ("_after_cr",)

    def __init__(self) -> None:
        self._after_cr = False

    def convert(self, block: bytes) -> bytes:
        """What becomes of the next bytes."""
        if not block:
            return block
        start = b"\n" if self._after_cr and block.startswith(b"\n") else b""
        self._after_cr = block.endswith(b"\r")
        return start + block[len(start) :].replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")

    def rest(self) -> bytes:
        """Nothing."""
        return b""
