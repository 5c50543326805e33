"""TAI64N labels at the start of lines made local time (daemontools 12).

The usual block, in which every line begins with a label of 24 digits, is converted as a whole: one check of all its digits,
one conversion of all its nanoseconds, one look-up of the second for each line. Any other block is converted line by line.
"""

from __future__ import annotations

import binascii
import os
import struct
import time

from qserver.base.tai64n import EPOCH

HEX = b"0123456789abcdef"
SECONDS, LABEL = 17, 25
"""Bytes of `@` and the digits of the seconds; of the whole usual label."""
MOST_SECONDS = 4096
"""Seconds whose text is kept from block to block."""
MOST_DIGITS = 1 << 20
"""Digits that are held until their end is seen; more are no label."""


def use_zone(env: dict[str, str]) -> None:
    """Make `env`, which a program before us in this process may have changed, say what the local time is."""
    zone = env.get("TZ")
    if zone != os.environ.get("TZ"):
        os.unsetenv("TZ") if zone is None else os.putenv("TZ", zone)
        time.tzset()


class LocalTimes:
    """Converts a stream, block by block."""

    __slots__ = ("_held", "_seconds", "_within")

    def __init__(self) -> None:
        self._held = b""
        self._within = False
        self._seconds: dict[bytes, bytes] = {}

    def convert(self, block: bytes) -> bytes:
        """What can be said of the stream so far: all but digits at a line's start that may go on in the next block."""
        if len(self._seconds) > MOST_SECONDS:
            self._seconds.clear()
        done = b""
        if self._within:
            end = block.find(b"\n") + 1
            if not end:
                return block
            done, block = block[:end], block[end:]
        block = self._held + block
        end = block.rfind(b"\n") + 1
        rest = block[end:]
        if end:
            done += self._complete(block[: end - 1].split(b"\n"))
        if rest[:1] != b"@" or rest[1:].strip(HEX):
            self._held, self._within = b"", bool(rest)
            return done + self._line(rest)
        self._held, self._within = rest, len(rest) > MOST_DIGITS
        if self._within:
            self._held = b""
            return done + rest
        return done

    def _complete(self, lines: list[bytes]) -> bytes:
        """Complete lines, given without their newlines."""
        usual = self._usual(lines)
        return b"\n".join(map(self._line, lines) if usual is None else usual) + b"\n"

    def _usual(self, lines: list[bytes]) -> list[bytes] | None:
        """The lines converted, if each begins with a label of 24 digits; else None."""
        digits = b"".join([line[SECONDS:LABEL] for line in lines])
        if len(digits) != len(lines) * (LABEL - SECONDS) or digits.strip(HEX):
            return None
        if len(b"".join([line[LABEL : LABEL + 1] for line in lines]).translate(None, HEX)) != len(lines):
            return None  # a longer number, or no more than that on the line
        heads = [line[:SECONDS] for line in lines]
        for head in set(heads).difference(self._seconds):
            if head[:1] != b"@" or head[1:].strip(HEX) or not self._second(head):
                return None
        seconds = self._seconds
        nanoseconds = struct.unpack(f">{len(lines)}I", binascii.unhexlify(digits))
        together = zip(heads, nanoseconds, lines, strict=True)
        return [b"%b%09d%b" % (seconds[head], ns, line[LABEL:]) for head, ns, line in together]

    def _second(self, head: bytes) -> bytes:
        """`YYYY-MM-DD HH:MM:SS.` of the second that `@` and digits mean; nothing if it is not representable."""
        found = self._seconds.get(head)
        if found is None:
            found = self._seconds[head] = _text(int(head[1:] or b"0", 16))
        return found

    def _line(self, line: bytes) -> bytes:
        """One line, or its start."""
        if line[:1] != b"@":
            return line
        rest = line[1:].lstrip(HEX)
        label = line[: len(line) - len(rest)]
        digits = label[1:]
        second = self._second(b"@" + digits[-24:-8])
        return b"%b%09d%b" % (second, int(digits[-8:] or b"0", 16), rest) if second else line


def _text(label: int) -> bytes:
    """The local time of a TAI64 label, read as a signed number of seconds; nothing where there is no such time."""
    seconds = (label - EPOCH) & (1 << 64) - 1
    seconds -= (seconds >> 63) << 64
    try:
        year, *others = time.localtime(seconds)[:6]
    except (OverflowError, OSError, ValueError):
        return b""
    return b"%d-%02d-%02d %02d:%02d:%02d." % (year % (1 << 64), *others)
