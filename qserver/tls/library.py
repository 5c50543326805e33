"""TLS in memory, by the interpreter's own binding of OpenSSL: `_ssl` without the weight of `ssl` (ucspi 6.4).

A `Session` is fed what the peer sends and gives what the peer is to get; it knows no sockets. So the library's output is
sent whatever made it (an alert, a KeyUpdate), and a half-closed connection goes on in the other direction. `openssl.py` has
the same two classes by pyOpenSSL, for what this binding cannot do.
"""

from __future__ import annotations

import _ssl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OLDEST, OLDEST_EVER = 0x0303, 0x0301
"""TLS 1.2; TLS 1.0, for who asks for security level 0."""
VERSION: str = _ssl.OPENSSL_VERSION
BLOCK = 65536
END_OF_FILE = "unexpected eof while reading"


class Trouble(Exception):
    """The library's reason why it does not go on."""


class Unverified(Trouble):
    """Why the peer's certificate is not believed."""


class BadFile(Exception):
    """A file or a list that the library does not take; `mismatch`: the key is not the certificate's."""

    def __init__(self, *, mismatch: bool = False) -> None:
        super().__init__()
        self.mismatch = mismatch


class Context:
    """What all sessions share: certificate, key, trust, and the keys of tickets."""

    __slots__ = ("_inner", "room", "server")

    def __init__(self, *, server: bool) -> None:
        self.server = server
        self.room = memoryview(bytearray(BLOCK))
        """For what one session at a time hears; made before the fork it takes no memory where it is not used."""
        self._inner = _ssl._SSLContext(_ssl.PROTOCOL_TLS_SERVER if server else _ssl.PROTOCOL_TLS_CLIENT)
        self._inner.check_hostname = False
        self._inner.minimum_version = OLDEST
        if server:
            self._inner.num_tickets = 1

    def use_certificate(self, certificate: str, key: str, password: bytes) -> None:
        """Files; the chain follows the certificate. Raises BadFile."""
        try:
            self._inner.load_cert_chain(certificate, key, password)
        except (OSError, ValueError) as error:  # SSLError is an OSError
            raise BadFile(mismatch=getattr(error, "reason", None) == "KEY_VALUES_MISMATCH") from error

    def trust(self, cafile: str | None = None, cadir: str | None = None, data: str | None = None) -> None:
        """Authorities. Raises BadFile."""
        try:
            self._inner.load_verify_locations(cafile, cadir, data)
        except (OSError, ValueError) as error:
            raise BadFile from error

    def demand(self, *, verify: bool) -> None:
        """Whether the peer must have a certificate that is to be trusted."""
        self._inner.verify_mode = _ssl.CERT_REQUIRED if verify else _ssl.CERT_NONE

    def set_ciphers(self, names: str) -> None:
        """The suites before TLS 1.3. Raises BadFile."""
        try:
            self._inner.set_ciphers(names)
        except OSError as error:
            raise BadFile from error

    def set_suites(self, _names: str) -> None:
        """The suites of TLS 1.3: this binding has no say in them. Raises BadFile."""
        raise BadFile

    def set_depth(self, _most: int) -> None:
        """How long a chain may be: this binding has no say in it. Raises BadFile."""
        raise BadFile

    def name_authorities(self, _path: str) -> None:
        """Those of a PEM file in the certificate request: this binding names none. Raises BadFile."""
        raise BadFile

    def allow_old(self) -> None:
        """TLS 1.0 and 1.1 too."""
        self._inner.minimum_version = OLDEST_EVER

    def use_dh(self, path: str) -> None:
        """Diffie-Hellman parameters. Raises BadFile."""
        try:
            self._inner.load_dh_params(path)
        except (OSError, ValueError) as error:
            raise BadFile from error

    def speak(self, protocols: tuple[str, ...]) -> None:
        """The protocols to choose from if the client asks (RFC 7301)."""
        self._inner._set_alpn_protocols(b"".join(bytes((len(name),)) + name.encode() for name in protocols))  # type: ignore[attr-defined]

    def session(self, name: str | None = None) -> Session:
        """One connection; `name` is what a client calls its server (SNI)."""
        return Session(self._inner, self.room, server=self.server, name=name)


class Session:
    """One side of one connection. The handshake comes first."""

    __slots__ = ("_context", "_incoming", "_outgoing", "_tls", "room")

    def __init__(self, context: _ssl._SSLContext, room: memoryview, *, server: bool, name: str | None) -> None:
        self._context = context
        self.room = room
        self._incoming, self._outgoing = _ssl.MemoryBIO(), _ssl.MemoryBIO()
        self._tls: Any = context._wrap_bio(self._incoming, self._outgoing, server, name)  # type: ignore[attr-defined]

    def feed(self, data: bytes | memoryview) -> None:
        """What the peer has sent; nothing is its end."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def output(self) -> bytes:
        """What the peer is to get now."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def handshake(self) -> bool:
        """Whether it is done; else the peer must be heard first. Raises Trouble."""
        try:
            self._tls.do_handshake()
        except _ssl.SSLWantReadError:
            return False
        except _ssl.SSLCertVerificationError as error:
            raise Unverified(getattr(error, "verify_message", "") or "certificate verify failed") from error
        except (_ssl.SSLError, OSError) as error:
            raise Trouble(_reason(error)) from error
        return True

    def has_more(self) -> bool:
        """Whether what was fed has not all been read."""
        return bool(self._incoming.pending or self._tls.pending())

    def read(self, room: memoryview) -> int | None:
        """The size of the peer's next words, put into `room`; 0 after the last, None where more must be fed. Raises Trouble."""
        try:
            return int(self._tls.read(len(room), room))
        except _ssl.SSLWantReadError:
            return None
        except (_ssl.SSLZeroReturnError, _ssl.SSLEOFError):
            return 0
        except _ssl.SSLError as error:
            raise Trouble(_reason(error)) from error

    def write(self, data: bytes) -> None:
        """Words for the peer. Raises Trouble."""
        try:
            self._tls.write(data)
        except _ssl.SSLError as error:
            raise Trouble(_reason(error)) from error

    def say_goodbye(self) -> None:
        """Nothing more will be written; the peer's answer may come, or not."""
        try:
            self._tls.shutdown()
        except OSError:  # SSLError is one
            return

    def version(self) -> str:
        """`TLSv1.3` and the like."""
        return self._tls.version() or ""

    def cipher(self) -> str:
        """OpenSSL's name of the suite."""
        return (self._tls.cipher() or ("",))[0]

    def bits(self) -> tuple[int, int]:
        """Of the cipher's key: used, possible."""
        name, _, used = self._tls.cipher() or ("", "", 0)
        known = {cipher["name"]: cipher["alg_bits"] for cipher in self._context.get_ciphers()}
        return used, known.get(name, used)

    def session_id(self) -> bytes:
        """Nothing where the library has none."""
        return self._tls.session.id if self._tls.session is not None else b""

    def library(self) -> str:
        """What speaks TLS here, `OpenSSL 3.0.19 …`."""
        return VERSION

    def certificate(self) -> bytes | None:
        """The peer's, as DER."""
        der: bytes | None = self._tls.getpeercert(True)
        return der

    def chain(self) -> list[bytes]:
        """All certificates that the peer has sent, its own first, as DER."""
        return [found.public_bytes(_ssl.ENCODING_DER) for found in self._tls.get_unverified_chain() or ()]


def _reason(error: OSError) -> str:
    """The library's words."""
    if isinstance(error, (_ssl.SSLEOFError, _ssl.SSLZeroReturnError)):
        return END_OF_FILE
    found = getattr(error, "reason", None)
    return str(found).lower().replace("_", " ") if found else str(error.strerror or error).lower()
