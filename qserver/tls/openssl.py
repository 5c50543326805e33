"""TLS in memory by pyOpenSSL, for what the interpreter's binding cannot do (ucspi 6.1, 6.7).

The names of authorities in the certificate request, the depth of a chain, the suites of TLS 1.3. Its classes are those of
`library.py`. It is imported only where one of these is asked for, for it takes memory and time.
"""

from __future__ import annotations

import os

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from qserver.tls import library
from qserver.tls.library import BLOCK, END_OF_FILE, BadFile, Trouble, Unverified

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from OpenSSL import crypto

FAILED = "certificate verify failed"
WHY = {
    9: "certificate is not yet valid",
    10: "certificate has expired",
    18: "self-signed certificate",
    19: "self-signed certificate in certificate chain",
    20: "unable to get local issuer certificate",
    21: "unable to verify the first certificate",
    22: "certificate chain too long",
    23: "certificate revoked",
    24: "invalid CA certificate",
    26: "unsuitable certificate purpose",
}
"""X509_V_ERR_… in OpenSSL's words; others are `FAILED`."""
MOST_DEPTH = 100
NAME_OF_SESSIONS = b"qserver"
"""A server that asks for certificates must give its sessions one."""
TROUBLES = (SSL.Error, OSError, ValueError, TypeError)
"""What pyOpenSSL raises for a file that is none of ours to explain."""


class Context(library.Context):
    """As library.Context, and stricter."""

    __slots__ = ("_strict",)

    def __init__(self, *, server: bool) -> None:
        self.server = server
        self.room = memoryview(bytearray(BLOCK))
        self._strict = SSL.Context(SSL.TLS_SERVER_METHOD if server else SSL.TLS_CLIENT_METHOD)
        self._strict.set_min_proto_version(library.OLDEST)
        self._strict.set_mode(SSL.MODE_RELEASE_BUFFERS)
        self._strict.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE)
        self._strict.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        self._strict.set_session_id(NAME_OF_SESSIONS)

    def use_certificate(self, certificate: str, key: str, password: bytes) -> None:
        """As there."""
        try:
            self._strict.set_passwd_cb(lambda *_: password)
            self._strict.use_certificate_chain_file(certificate)
            self._strict.use_privatekey_file(key)
        except TROUBLES as error:
            raise BadFile(mismatch="mismatch" in str(error)) from error

    def trust(self, cafile: str | None = None, cadir: str | None = None, data: str | None = None) -> None:
        """As there."""
        try:
            if cafile or cadir:
                self._strict.load_verify_locations(cafile, cadir)
            if data:
                store = self._strict.get_cert_store()
                for certificate in x509.load_pem_x509_certificates(data.encode("latin-1")):
                    _add(store, certificate)
        except TROUBLES as error:
            raise BadFile from error

    def demand(self, *, verify: bool) -> None:
        """As there; a server then gives no tickets, for a resumed session has no chain."""
        if not verify:
            self._strict.set_verify(SSL.VERIFY_NONE)
            return
        self._strict.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _note)
        if self.server:
            self._strict.set_options(SSL.OP_NO_TICKET)

    def name_authorities(self, path: str) -> None:
        """Those of a PEM file are named in the certificate request. Raises BadFile."""
        try:
            self._strict.load_client_ca(os.fsencode(path))
        except TROUBLES as error:
            raise BadFile from error

    def set_depth(self, most: int) -> None:
        """No more intermediate certificates than that."""
        self._strict.set_verify_depth(min(most, MOST_DEPTH))

    def set_ciphers(self, names: str) -> None:
        """As there."""
        try:
            self._strict.set_cipher_list(names.encode("ascii"))
        except (SSL.Error, UnicodeError) as error:
            raise BadFile from error

    def set_suites(self, names: str) -> None:
        """The suites of TLS 1.3. Raises BadFile."""
        try:
            self._strict.set_tls13_ciphersuites(names.encode("ascii"))
        except (SSL.Error, UnicodeError) as error:
            raise BadFile from error

    def allow_old(self) -> None:
        """As there."""
        self._strict.set_min_proto_version(library.OLDEST_EVER)

    def use_dh(self, path: str) -> None:
        """As there."""
        try:
            self._strict.load_tmp_dh(os.fsencode(path))
        except TROUBLES as error:
            raise BadFile from error

    def speak(self, protocols: tuple[str, ...]) -> None:
        """As there."""
        self._strict.set_alpn_select_callback(_chooser(tuple(name.encode() for name in protocols)))

    def session(self, name: str | None = None) -> Session:
        """As there."""
        return Session(self._strict, self.room, server=self.server, name=name)


def _add(store: crypto.X509Store | None, certificate: x509.Certificate) -> None:
    if store is not None:
        store.add_cert(_as_x509(certificate))


def _as_x509(certificate: x509.Certificate) -> crypto.X509:
    from OpenSSL import crypto

    return crypto.X509.from_cryptography(certificate)


def _note(connection: SSL.Connection, _certificate: crypto.X509, number: int, _depth: int, good: int) -> bool:
    """Remember why a certificate is not believed."""
    if not good:
        connection.set_app_data(number)
    return bool(good)


def _chooser(ours: tuple[bytes, ...]) -> Callable[[SSL.Connection, list[bytes]], bytes | SSL._NoOverlappingProtocols]:
    def choose(_connection: SSL.Connection, offered: list[bytes]) -> bytes | SSL._NoOverlappingProtocols:
        return next((name for name in ours if name in offered), SSL.NO_OVERLAPPING_PROTOCOLS)

    return choose


class Session(library.Session):
    """As library.Session."""

    __slots__ = ("_connection", "_server")

    def __init__(self, context: SSL.Context, room: memoryview, *, server: bool, name: str | None) -> None:
        self.room = room
        self._connection = SSL.Connection(context, None)
        self._server = server
        if server:
            self._connection.set_accept_state()
            return
        self._connection.set_connect_state()
        if name is not None:
            self._connection.set_tlsext_host_name(os.fsencode(name))

    def feed(self, data: bytes | memoryview) -> None:
        """As there."""
        if not data:
            self._connection.bio_shutdown()
        rest = data
        while rest:
            rest = rest[self._connection.bio_write(rest) :]

    def output(self) -> bytes:
        """As there."""
        found = b""
        try:
            while True:
                found += self._connection.bio_read(BLOCK)
        except SSL.WantReadError:
            return found

    def handshake(self) -> bool:
        """As there."""
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            why = self._connection.get_app_data()
            if why is not None:
                raise Unverified(WHY.get(why, FAILED)) from error
            raise Trouble(_reason(error)) from error
        return True

    def has_more(self) -> bool:
        """As there; this library tells only by reading."""
        return True

    def read(self, room: memoryview) -> int | None:
        """As there."""
        try:
            return int(self._connection.recv_into(room))
        except SSL.WantReadError:
            return None
        except SSL.ZeroReturnError:
            return 0
        except SSL.Error as error:
            if _reason(error) == END_OF_FILE:
                return 0
            raise Trouble(_reason(error)) from error

    def write(self, data: bytes) -> None:
        """As there."""
        try:
            self._connection.sendall(data)
        except SSL.Error as error:
            raise Trouble(_reason(error)) from error

    def say_goodbye(self) -> None:
        """As there."""
        try:
            self._connection.shutdown()
        except SSL.Error:
            return

    def version(self) -> str:
        """As there."""
        return self._connection.get_protocol_version_name()

    def cipher(self) -> str:
        """As there."""
        return self._connection.get_cipher_name() or ""

    def bits(self) -> tuple[int, int]:
        """As there."""
        used = self._connection.get_cipher_bits() or 0
        return used, used

    def session_id(self) -> bytes:
        """None: there are no sessions to go back to."""
        return b""

    def library(self) -> str:
        """As there."""
        return SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode("ascii", "replace")

    def certificate(self) -> bytes | None:
        """As there."""
        found = self._connection.get_peer_certificate(as_cryptography=True)
        return None if found is None else found.public_bytes(Encoding.DER)

    def chain(self) -> list[bytes]:
        """As there."""
        found = self._connection.get_peer_cert_chain(as_cryptography=True) or []
        chain = [certificate.public_bytes(Encoding.DER) for certificate in found]
        own = self.certificate() if self._server else None  # which a server is not told again
        return chain if own is None else [own, *chain]


def _reason(error: SSL.Error) -> str:
    """The library's words."""
    if isinstance(error, SSL.SysCallError):
        return END_OF_FILE
    queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return str(queue[0][2]).lower() if queue else "protocol error"
