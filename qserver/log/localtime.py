"""TAI64N labels at the start of lines made local time (daemontools 12).

The usual block, in which every line begins with a label of 24 digits, is converted as a whole: one check of all its digits,
one conversion of all its nanoseconds, one look-up of the second for each line. Any other block is converted line by line.
"""

from __future__ import annotations

import binascii
import os
import struct
import time
from _operator import itemgetter  # without the Python part of `operator`

from qserver.base.tai64n import EPOCH

HEX = b"0123456789abcdef"
KIND = bytes(ord("0") if byte in HEX else byte if byte == ord("@") else ord("x") for byte in range(256))
"""A digit is a 0, other bytes but `@` are an x."""
LABEL = 25
"""Bytes of the usual label."""
USUAL = b"@" + b"0" * (LABEL - 1) + b"x"
"""The kinds of its bytes and of the one after it."""
start_of = itemgetter(slice(LABEL + 1))
rest_of = itemgetter(slice(LABEL, None))
"""Parts of a line; `map` with them is faster than a comprehension."""
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
        self._seconds = _Seconds()

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
        return self._usual(lines) or b"\n".join(map(self._line, lines)) + b"\n"

    def _usual(self, lines: list[bytes]) -> bytes | None:
        """The lines converted, if each begins with a label of 24 digits of a representable time; else None."""
        count = len(lines)
        labels = bytearray().join(map(start_of, lines))
        if labels.translate(KIND) != USUAL * count:
            return None
        del labels[LABEL :: LABEL + 1]
        del labels[::LABEL]
        numbers = struct.unpack(">" + count * "QI", binascii.unhexlify(labels))
        parts: list[bytes | int] = [b""] * (3 * count)
        try:
            parts[::3] = map(self._seconds.__getitem__, numbers[::2])
        except KeyError:
            return None
        parts[1::3] = numbers[1::2]
        parts[2::3] = map(rest_of, lines)
        return (b"%b%09d%b\n" * count) % tuple(parts)

    def _line(self, line: bytes) -> bytes:
        """One line, or its start."""
        if line[:1] != b"@":
            return line
        rest = line[1:].lstrip(HEX)
        label = line[: len(line) - len(rest)]
        digits = label[1:]
        try:
            second = self._seconds[int(digits[-24:-8] or b"0", 16)]
        except KeyError:
            return line
        return b"%b%09d%b" % (second, int(digits[-8:] or b"0", 16), rest)


class _Seconds(dict[int, bytes]):
    """TAI64 label → `YYYY-MM-DD HH:MM:SS.` in local time, worked out when first asked for; KeyError for no such time."""

    def __missing__(self, label: int) -> bytes:
        text = _text(label)
        if not text:
            raise KeyError(label)
        self[label] = text
        return text


def _text(label: int) -> bytes:
    """The local time of a TAI64 label, read as a signed number of seconds; nothing where there is no such time."""
    seconds = (label - EPOCH) & (1 << 64) - 1
    seconds -= (seconds >> 63) << 64
    try:
        year, *others = time.localtime(seconds)[:6]
    except (OverflowError, OSError, ValueError):
        return b""
    return b"%d-%02d-%02d %02d:%02d:%02d." % (year % (1 << 64), *others)
