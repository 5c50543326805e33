"""TLS contexts from files and words; every failure is a `LoadError` in ucspi-ssl's words (ucspi 6.1, 8)."""

from __future__ import annotations

import os
import ssl

TLS_1_3 = "TLS_"
"""Elements of a cipher list that begin so are suites of TLS 1.3, which the library lets nobody choose."""
LONGEST_PASSWORD = 1024


class LoadError(Exception):
    """What could not be loaded."""


class Keys:
    """A certificate with its chain, its key (empty: in the same file), and the key's password."""

    __slots__ = ("certificate", "key", "password")

    def __init__(self, certificate: str, key: str, password: bytes | None = None) -> None:
        self.certificate = certificate
        self.key = key
        self.password = password


def for_client(*, verify: bool, cafile: str, cadir: str, keys: Keys | None, ciphers: str) -> ssl.SSLContext:
    """The context of a client. Names are not compared here. Raises LoadError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    trust(context, cafile, cadir)
    if keys is not None:
        load_keys(context, keys)
    set_ciphers(context, ciphers)
    return context


def trust(context: ssl.SSLContext, cafile: str, cadir: str) -> None:
    """Trust the authorities of a file and of a directory. Raises LoadError."""
    try:
        if cafile:
            context.load_verify_locations(cafile=cafile)
        if cadir:
            if not os.path.isdir(cadir):
                raise FileNotFoundError
            context.load_verify_locations(capath=cadir)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise LoadError("unable to load CA list") from error


def load_keys(context: ssl.SSLContext, keys: Keys) -> None:
    """Raises LoadError."""
    try:
        context.load_cert_chain(keys.certificate, keys.key or None, keys.password or b"")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            raise LoadError("key does not match certificate") from error
        missing = _is_no_certificate(keys.certificate)
        raise LoadError("unable to load certificate" if missing else "unable to load key pair") from error


def _is_no_certificate(path: str) -> bool:
    """Whether the certificate alone is at fault."""
    try:
        with open(path, "rb") as file:
            return b"-----BEGIN CERTIFICATE-----" not in file.read()
    except OSError:
        return True


def set_ciphers(context: ssl.SSLContext, text: str) -> None:
    """The suites before TLS 1.3. Raises LoadError."""
    chosen = ":".join(word for word in text.split(":") if word and not word.startswith(TLS_1_3))
    if chosen:
        try:
            context.set_ciphers(chosen)
        except ssl.SSLError as error:
            raise LoadError("unable to set cipher list") from error


def password_from(fd: int) -> bytes:
    """A password up to a NUL or the end. Raises OSError, LoadError for one that is too long."""
    data = b""
    while b"\0" not in data and (block := os.read(fd, LONGEST_PASSWORD)):
        data += block
        if len(data) > LONGEST_PASSWORD and b"\0" not in data[:LONGEST_PASSWORD]:
            raise LoadError("password too long")
    return data.partition(b"\0")[0]
