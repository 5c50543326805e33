"""What mod_ssl calls a connection's properties (ucspi 6.6)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from qserver.tls.library import Session

EXPORT_BITS = 56


def of_connection(tls: Session) -> Iterator[tuple[str, str]]:
    """The variables that speak of the connection itself."""
    used, possible = tls.bits()
    yield "SSL_PROTOCOL", tls.version()
    yield "SSL_SESSION_ID", tls.session_id().hex()
    yield "SSL_CIPHER", tls.cipher()
    yield "SSL_CIPHER_EXPORT", "true" if used < EXPORT_BITS else "false"
    yield "SSL_CIPHER_USEKEYSIZE", str(used)
    yield "SSL_CIPHER_ALGKEYSIZE", str(possible)
    yield "SSL_VERSION_INTERFACE", "ucspi-ssl"
    yield "SSL_VERSION_LIBRARY", tls.library()


def of_client(tls: Session) -> Iterator[tuple[str, str]]:
    """The variables that speak of the client's certificate and its chain."""
    der = tls.certificate()
    if der is None:
        yield "SSL_CLIENT_VERIFY", "NONE"
        return
    from qserver.tls import certificates

    yield from certificates.variables("CLIENT", certificates.load(der))
    for number, other in enumerate(tls.chain()):
        yield f"SSL_CLIENT_CERT_CHAIN_{number}", certificates.pem(other)
    yield "SSL_CLIENT_VERIFY", "SUCCESS"  # anything else ends in the handshake
