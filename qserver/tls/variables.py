"""What mod_ssl calls a connection's properties (ucspi 6.6)."""

from __future__ import annotations

import ssl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

EXPORT_BITS = 56


def of_connection(tls: ssl.SSLObject) -> Iterator[tuple[str, str]]:
    """The variables that speak of the connection itself."""
    name, _, used = tls.cipher() or ("", "", 0)
    session = tls.session
    yield "SSL_PROTOCOL", tls.version() or ""
    yield "SSL_SESSION_ID", session.id.hex() if session is not None else ""
    yield "SSL_CIPHER", name
    yield "SSL_CIPHER_EXPORT", "true" if used < EXPORT_BITS else "false"
    yield "SSL_CIPHER_USEKEYSIZE", str(used)
    yield "SSL_CIPHER_ALGKEYSIZE", str(_possible_bits(tls, name, used))
    yield "SSL_VERSION_INTERFACE", "ucspi-ssl"
    yield "SSL_VERSION_LIBRARY", ssl.OPENSSL_VERSION


def _possible_bits(tls: ssl.SSLObject, name: str, used: int) -> int:
    known = {str(cipher["name"]): int(cipher.get("alg_bits", used)) for cipher in tls.context.get_ciphers()}
    return known.get(name, used)


def of_client(tls: ssl.SSLObject) -> Iterator[tuple[str, str]]:
    """The variables that speak of the client's certificate and its chain."""
    der = tls.getpeercert(binary_form=True)
    if der is None:
        yield "SSL_CLIENT_VERIFY", "NONE"
        return
    from qserver.tls import certificates

    yield from certificates.variables("CLIENT", certificates.load(der))
    for number, other in enumerate(_chain(tls)):
        yield f"SSL_CLIENT_CERT_CHAIN_{number}", ssl.DER_cert_to_PEM_cert(other)
    yield "SSL_CLIENT_VERIFY", "SUCCESS"  # anything else ends in the handshake


def _chain(tls: ssl.SSLObject) -> list[bytes]:
    """What the client has sent; the library tells it publicly from Python 3.13 on."""
    if hasattr(tls, "get_unverified_chain"):
        return list(tls.get_unverified_chain())
    inner = tls._sslobj  # type: ignore[attr-defined]
    return [ssl.PEM_cert_to_DER_cert(found.public_bytes()) for found in inner.get_unverified_chain() or ()]
