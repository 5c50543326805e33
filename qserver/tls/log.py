"""sslserver's lines, where they are not tcpserver's (ucspi 6.1, 6.8)."""

from __future__ import annotations

from qserver.base.errors import say
from qserver.net.log import Log, field


class TlsLog(Log):
    """Says what the level asked for."""

    __slots__ = ("most_per_address",)

    def __init__(self, name: str, level: int, limit: int, most_per_address: int) -> None:
        super().__init__(name, level, limit)
        self.most_per_address = most_per_address

    def status(self, sessions: int) -> None:
        """How many sessions there are now."""
        say(f"{self.name}: status: {sessions}/{self.limit}/{self.most_per_address}")

    def end(self, pid: int, status: int) -> None:
        """How a session ended: the raw wait status."""
        say(f"{self.name}: ended by {pid} status {status}")

    def accept(self, pid: int, what: str) -> None:
        """TLS began; `what`: version and cipher, or nothing."""
        say(f"{self.name}: tls {pid} accept {what}".rstrip())

    def trouble(self, kind: str, code: int, doing: str, ip: str, pid: int, why: str = "") -> None:
        """Why there is no TLS."""
        self.complain(kind, f"({code}) {doing}: {field(ip)} for pid: {pid} {why}".rstrip())

    def valid(self, ip: str, pid: int) -> None:
        """A client certificate is good."""
        say(f"{self.name}: info: valid client cert received from: {field(ip)} for pid: {pid}")
