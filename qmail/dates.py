"""The two date forms of qmail (delivery 0.4), both UTC."""

from __future__ import annotations

import time

MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
DAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")


def date822(when: float) -> bytes:
    """`5 Sep 1995 04:46:53 -0000`: day without leading zero."""
    t = time.gmtime(when)
    return b"%d %s %d %02d:%02d:%02d -0000" % (t[2], MONTHS[t[1] - 1], t[0], t[3], t[4], t[5])


def myctime(when: float) -> bytes:
    """`Tue Sep 05 04:46:53 1995`: day with leading zero."""
    t = time.gmtime(when)
    return b"%s %s %02d %02d:%02d:%02d %d" % (DAYS[t[6]], MONTHS[t[1] - 1], t[2], t[3], t[4], t[5], t[0])
