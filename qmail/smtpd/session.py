"""The state of one conversation, and what it needs from the world around it. No sockets, no clock, no files."""

from __future__ import annotations

import os

from qmail.smtpd.settings import Settings, remote_info
from qmail.smtpd.tls import TlsInfo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    from qmail.smtpd.message import Message
    from qmail.smtpd.policy.verdict import Verdict

    class Queue(Protocol):
        """The queue's end that takes one message (delivery 0.3)."""

        qp: int

        def put(self, data: bytes) -> None: ...
        def fail(self) -> None: ...
        def envelope(self, sender: bytes, recipients: list[bytes]) -> None: ...
        def close(self) -> int: ...

    class Lookups(Protocol):
        """DNS; an empty list means there is no such thing, DnsTemporary that one cannot know."""

        def addresses(self, name: str, family: int = 0) -> list[str]: ...
        def mx(self, name: str) -> list[tuple[int, bytes]]: ...

    class Outside(Protocol):
        """What a session asks of the loop that drives it."""

        pid: int

        def log(self, line: bytes) -> None: ...
        def now(self) -> float: ...
        def pause(self, seconds: int) -> None: ...
        def open_queue(self, env: Mapping[str, str]) -> Queue: ...
        def interface_addresses(self) -> frozenset[str]: ...
        def resolver(self) -> Lookups: ...


class Leave(Exception):
    """The conversation is over: `reply` is the last word (may be empty), `code` the exit code."""

    def __init__(self, reply: bytes, code: int = 1) -> None:
        super().__init__(reply)
        self.reply = reply
        self.code = code


class Transaction:
    """From one MAIL to the end of its DATA."""

    __slots__ = (
        "attempts",
        "bad_sender",
        "oversize",
        "recipients",
        "sender",
        "sender_host_missing",
        "utf8",
    )

    def __init__(self, sender: bytes) -> None:
        self.sender = sender
        self.recipients: list[bytes] = []
        self.attempts = 0
        """RCPT commands with a well-formed address, refused ones too."""
        self.bad_sender: bytes | None = None
        """The badmailfrom sign that hit, to be enforced at RCPT."""
        self.sender_host_missing = False
        self.oversize = False
        self.utf8 = False


class Session:
    """One client from its greeting to its end. `env` is the session's own copy, and grows as smtpd 3.1 says."""

    __slots__ = (
        "authenticated",
        "env",
        "failed_recipients",
        "helo",
        "helo_verdict",
        "message",
        "notorious",
        "outside",
        "relay",
        "remoteinfo",
        "settings",
        "tls",
        "transaction",
    )

    def __init__(self, settings: Settings, env: Mapping[str, str], outside: Outside, tls: TlsInfo | None = None) -> None:
        self.settings = settings
        self.env = dict(env)
        self.outside = outside
        self.tls = tls
        relay = env.get("RELAYCLIENT")
        self.relay = None if relay is None else os.fsencode(relay)
        """None for a stranger, else what is appended to every recipient."""
        self.remoteinfo = remote_info(env)
        self.authenticated: tuple[bytes, bytes] | None = None
        """(method, user) after AUTH or a client certificate."""
        self.helo: bytes | None = None
        self.helo_verdict: Verdict | None = None
        self.transaction: Transaction | None = None
        self.message: Message | None = None
        self.failed_recipients = 0
        self.notorious = False

    @property
    def protocol(self) -> bytes:
        """The name in Received and in the log: ESMTP, S with TLS, A when authenticated (smtpd 10.3)."""
        name = b"UTF8SMTP" if self.transaction is not None and self.transaction.utf8 else b"ESMTP"
        if self.tls is not None:
            name += b"S"
        return name + b"A" if self.authenticated is not None else name

    def export(self, name: str, value: bytes) -> None:
        """Set a variable for the programs we run."""
        self.env[name] = os.fsdecode(value)
