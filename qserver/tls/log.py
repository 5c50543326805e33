"""sslserver's lines, where they are not tcpserver's (ucspi 6.1, 6.8)."""

from __future__ import annotations

from qserver.base.errors import say
from qserver.net.log import Log, field
from qserver.tls.options import NO_CERTIFICATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qserver.tls.options import TlsOptions


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

    def begun(self, pid: int, ip: str, options: TlsOptions, what: str) -> None:
        """TLS began, after a client's certificate was found good if one was demanded; `what`: version and cipher."""
        if options.client != NO_CERTIFICATE:
            say(f"{self.name}: info: valid client cert received from: {field(ip)} for pid: {pid}")
        say(f"{self.name}: tls {pid} accept {what if options.shows_cipher() else ''}".rstrip())

    def trouble(self, kind: str, code: int, doing: str, ip: str, pid: int, why: str = "") -> None:
        """Why there is no TLS."""
        self.complain(kind, f"({code}) {doing}: {field(ip)} for pid: {pid} {why}".rstrip())
