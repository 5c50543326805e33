"""What a check answers when it is not satisfied."""

from __future__ import annotations


class Verdict:
    """A refusal: the reply, the event and info to log (no event, no line), and whether the conversation ends there."""

    __slots__ = ("event", "final", "info", "reply")

    def __init__(self, reply: bytes, event: bytes = b"", info: bytes = b"", *, final: bool = False) -> None:
        self.reply = reply
        self.event = event
        self.info = info
        self.final = final

    def __repr__(self) -> str:
        return f"Verdict({self.reply!r}, {self.event!r}, {self.info!r}, final={self.final})"
