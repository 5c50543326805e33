"""What a TLS server told us about the connection (smtpd 11.3, 11.4)."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from qmail.smtpd.session import Session


class NoTls(Exception):
    """TLS was promised, but the server says nothing of it."""


class TlsInfo:
    """The mod_ssl variables that matter here, as bytes."""

    __slots__ = ("client", "client_name", "text")

    def __init__(self, env: Mapping[str, str]) -> None:
        """Raises NoTls when there is no SSL_PROTOCOL."""
        if "SSL_PROTOCOL" not in env:
            raise NoTls
        self.client = env.get("SSL_CLIENT_S_DN")
        self.client_name = env.get("SSL_CLIENT_S_DN_CN", self.client)
        unknown = "unknown"
        self.text = os.fsencode(
            f"{env['SSL_PROTOCOL']}: {env.get('SSL_CIPHER', unknown)} [{env.get('SSL_CIPHER_USEKEYSIZE', unknown)}"
            f"/{env.get('SSL_CIPHER_ALGKEYSIZE', unknown)}] DN={self.client or 'none'}"
        )


def at_connect(localport: bytes, env: Mapping[str, str]) -> TlsInfo | None:
    """TLS that was there before the greeting: demanded on 465, ignored on 25 and 587, believed elsewhere."""
    if localport == b"465":
        return TlsInfo(env)
    if localport in (b"25", b"587") or "SSL_PROTOCOL" not in env:
        return None
    return TlsInfo(env)


def trust_certificate(session: Session) -> None:
    """A client certificate our server accepted is as good as AUTH: relay permission, method `cert`."""
    if session.tls is None or session.tls.client is None:
        return
    user = os.fsencode(session.tls.client_name or session.tls.client)
    session.authenticated = (b"cert", user)
    session.relay = b""
    session.remoteinfo = user
    for name, value in (("AUTHUSER", user), ("AUTHPROTOCOL", b"cert"), ("TCPREMOTEINFO", user), ("RELAYCLIENT", user)):
        session.export(name, value)
