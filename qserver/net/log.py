"""The lines a server writes (ucspi 1.2, 5): one write each, on descriptor 2."""

from __future__ import annotations

import os

from qserver.base.errors import error_text, say
from qserver.net.options import ERRORS, VERBOSE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qserver.net.visitor import Visitor

FIELD_LIMIT = 100
SAFE = bytes(octet if 33 <= octet <= 126 and octet != 37 else 63 for octet in range(256))
"""In fields of the log octets outside 33..126 and `%` become `?`."""


def field(text: str | None) -> str:
    """A field as the log shows it; None, which is unknown, is empty."""
    if not text:
        return ""
    if text.isascii() and text.isalnum() and len(text) < FIELD_LIMIT:
        return text
    data = os.fsencode(text)
    shown = data[:FIELD_LIMIT].translate(SAFE).decode("ascii")
    return shown if len(data) < FIELD_LIMIT else shown + "..."


class Log:
    """Says what the level asked for: nothing (-q), errors (-Q), status too (-v)."""

    __slots__ = ("complains", "limit", "name", "verbose")

    def __init__(self, name: str, level: int, limit: int) -> None:
        self.name = name
        self.limit = limit
        self.complains = level >= ERRORS
        self.verbose = level >= VERBOSE

    def status(self, sessions: int) -> None:
        """How many sessions there are now."""
        say(f"{self.name}: status: {sessions}/{self.limit}")

    def pid(self, pid: int, ip: str) -> None:
        """Which process serves whom."""
        say(f"{self.name}: pid {pid} from {field(ip)}")

    def verdict(self, word: str, pid: int, visitor: Visitor, note: str = "") -> None:
        """`ok` or `deny`, and all that is known of both ends."""
        here = f"{field(visitor.local_host)}:{field(visitor.local_ip)}:{visitor.local_port}"
        there = f"{field(visitor.host)}:{field(visitor.ip)}:{field(visitor.info)}:{visitor.port}"
        say(f"{self.name}: {word} {pid} {here} {there}{note}")

    def end(self, pid: int, status: int) -> None:
        """How a session ended: the raw wait status."""
        say(f"{self.name}: end {pid} status {status}")

    def complain(self, kind: str, doing: str, error: OSError | None = None) -> None:
        """`NAME: KIND: DOING[: ERRTEXT]`, for an error or a warning."""
        if self.complains:
            tail = "" if error is None else ": " + error_text(error)
            say(f"{self.name}: {kind}: {doing}{tail}")
