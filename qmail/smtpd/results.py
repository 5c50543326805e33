"""What the queue program's exit code means to the client and to the log (smtpd 14)."""

from __future__ import annotations

import os

from qmail.queue.client import result_text
from qmail.smtpd import replies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

READ_ERROR = 54
SCANNED: dict[int, tuple[bytes, bytes]] = {
    32: (b"Reject::DATA::Virus_Infected", b"AV scanner"),
    33: (b"Reject::DATA::Spam_Message", b"spam"),
    34: (b"Reject::DATA::MIME_Attach", b"MIME"),
}
"""Codes by which a scanner refuses: event and info."""


class Outcome:
    """A reply, and the event to log with it, if any."""

    __slots__ = ("event", "info", "reply")

    def __init__(self, reply: bytes, event: bytes = b"", info: bytes = b"") -> None:
        self.reply = reply
        self.event = event
        self.info = info


def outcome(code: int, env: Mapping[str, str]) -> Outcome:
    """The outcome of a message that was not queued; code 0 then means that we failed it ourselves."""
    if code in SCANNED:
        event, info = SCANNED[code]
        if code == 32 and "QHPSI" in env:
            info = os.fsencode(env["QHPSI"])
        return Outcome(replies.refusal(replies.BAD_CONTENT, env), event, info)
    text = result_text(code or READ_ERROR)
    return Outcome((b"554 " if text[:1] == b"D" else b"451 ") + text[1:] + b"\r\n")
