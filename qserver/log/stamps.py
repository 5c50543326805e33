"""Time stamps in front of lines (daemontools 1.5, 10.1, 11).

Lines that came with one read were there at one time, so they share one reading of the clock.
"""

from __future__ import annotations

import time

from qserver.base.tai64n import BILLION, label, now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def tai64n() -> bytes:
    """The time now as a label and a space."""
    return label(now()) + b" "


def accustamp() -> bytes:
    """The time now as `SECONDS.MICROS` and a space."""
    ns = now()
    return b"%d.%06d " % (ns // BILLION, ns % BILLION // 1000)


def local() -> bytes:
    """The local time as `YYYY-MM-DD HH:MM:SS.NNNNNNNNN` and a space."""
    seconds, ns = divmod(now(), BILLION)
    return b"%d-%02d-%02d %02d:%02d:%02d.%09d " % (*time.localtime(seconds)[:6], ns)


KINDS: dict[str, Callable[[], bytes] | None] = {"t": tai64n, "T": accustamp, "d": local, "": None}
"""multilog's first action → the stamp of now."""


def before_lines(stamp: bytes, block: bytes, *, within_line: bool) -> bytes:
    """The block with the stamp before every line that begins in it; `within_line`: its first bytes go on with a line."""
    if not block:
        return block
    marked = block[:-1].replace(b"\n", b"\n" + stamp) + block[-1:]
    return marked if within_line else stamp + marked
