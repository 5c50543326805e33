"""Exit codes of qmail-queue and what its callers tell about them (delivery 0.3, 2)."""

from __future__ import annotations

OK = 0
ADDRESS_TOO_LONG = 11
SCANNER_REFUSED = 32
NO_MEMORY = 51
TIMEOUT = 52
WRITE_ERROR = 53
READ_ERROR = 54
NO_HOME = 61
NO_QUEUE = 62
NO_PID_FILE = 63
NO_MESS = 64
NO_INTD = 65
NO_TODO = 66
SCANNER_TROUBLE = 71
BUG = 81
BAD_ENVELOPE = 91
NOT_RUN = 120
CRASHED = -1
"""Not an exit code: a signal ended it."""
LOST = -2
"""Not an exit code: nobody knows how it ended."""

LONGEST_ADDRESS = 1002
"""Bytes an address of the envelope may have."""

CREATING = b"Zqq trouble creating files in queue (#4.3.0)"
TEXTS: dict[int, bytes] = {
    OK: b"",
    11: b"Denvelope address too long for qq (#5.1.3)",
    115: b"Denvelope address too long for qq (#5.1.3)",
    31: b"Dmail server permanently rejected message (#5.3.0)",
    32: b"Vmail server does not accept message (#5.3.0)",
    33: b"Smail server does not accept message (#5.3.0)",
    34: b"Amail server does not accept message (#5.3.0)",
    51: b"Zqq out of memory (#4.3.0)",
    52: b"Zqq timeout (#4.3.0)",
    53: b"Zqq write error or disk full (#4.3.0)",
    54: b"Zqq read error (#4.3.0)",
    55: b"Zqq unable to read configuration (#4.3.0)",
    56: b"Zqq trouble making network connection (#4.3.0)",
    61: b"Zqq trouble in home directory (#4.3.0)",
    62: CREATING,
    63: CREATING,
    64: CREATING,
    65: CREATING,
    66: CREATING,
    71: b"Zmail server temporarily rejected message (#4.3.0)",
    72: b"Zconnection to mail server timed out (#4.4.1)",
    73: b"Zconnection to mail server rejected (#4.4.1)",
    74: b"Zcommunication with mail server failed (#4.4.2)",
    81: b"Zqq internal bug (#4.3.0)",
    91: b"Zqq internal bug (#4.3.0)",
    120: b"Zunable to exec qq (#4.3.0)",
    CRASHED: b"Zqq crashed (#4.3.0)",
    LOST: b"Zqq waitpid surprise (#4.3.0)",
}


def result_text(code: int) -> bytes:
    """b"" for success, else a letter (D permanent, V S A refused contents, Z temporary) and the text."""
    if code in TEXTS:
        return TEXTS[code]
    return b"Dqq permanent problem (#5.3.0)" if 11 <= code <= 40 else b"Zqq temporary problem (#4.3.0)"


class QueueError(Exception):
    """The queue could not take the message; `code` is qmail-queue's exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code
