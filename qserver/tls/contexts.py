"""TLS contexts from files and words; every failure is a `LoadError` in ucspi-ssl's words (ucspi 6.1, 8)."""

from __future__ import annotations

import binascii
import os
import ssl

TLS_1_3 = "TLS_"
"""Elements of a cipher list that begin so are suites of TLS 1.3, which the library lets nobody choose."""
LONGEST_PASSWORD = 1024
LEAST_DH_BITS = 2048
CERTIFICATE = "-----BEGIN CERTIFICATE-----"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


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


class ServerFiles:
    """What sslserver reads at its start, by the variables of ucspi 6.1; an empty value is none."""

    __slots__ = ("ccafile", "cadir", "cafile", "certfile", "chainfile", "ciphers", "dhfile", "keyfile")

    def __init__(self, env: Mapping[str, str]) -> None:
        self.certfile = env.get("CERTFILE", "")
        self.keyfile = env.get("KEYFILE", "")
        self.chainfile = env.get("CERTCHAINFILE", "")
        self.cafile = env.get("CAFILE", "")
        self.cadir = env.get("CADIR", "")
        self.ccafile = env.get("CCAFILE", "")
        self.dhfile = env.get("DHFILE", "")
        self.ciphers = env.get("CIPHERS", "")


def for_server(files: ServerFiles, *, ask: bool, password: bytes | None) -> tuple[ssl.SSLContext, int]:
    """The context of a server, and the bits of its DH parameters (0: none). `ask`: client certificates are demanded.

    Everything is read here: after a chroot no file is there. Raises LoadError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if files.chainfile:
        _load(context, files.chainfile, files.keyfile, password, "unable to load certificate chain file")
    elif files.certfile:
        _load(context, files.certfile, files.keyfile, password, "unable to load certificate")
    if ask:
        _ask(context, files)
    bits = _set_dh(context, files.dhfile) if files.dhfile else 0
    set_ciphers(context, files.ciphers)
    return context, bits


def _load(context: ssl.SSLContext, certificate: str, key: str, password: bytes | None, complaint: str) -> None:
    try:
        context.load_cert_chain(certificate, key or None, password or b"")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            raise LoadError("key does not match certificate") from error
        if _is_no_certificate(certificate):
            raise LoadError(f"{complaint}: {certificate}") from error
        raise LoadError(f"unable to load key: {key or certificate}") from error


def _ask(context: ssl.SSLContext, files: ServerFiles) -> None:
    """Demand certificates of the authorities in CAFILE and CADIR; no tickets, for a resumed session has no chain."""
    if not files.ccafile or _is_no_certificate(files.ccafile):
        raise LoadError("unable to load client CA list")
    trust(context, files.cafile, "")
    if files.cadir:
        try:
            texts = [_text(os.path.join(files.cadir, name)) for name in sorted(os.listdir(files.cadir))]
            data = "".join(text for text in texts if CERTIFICATE in text)
            if data:
                context.load_verify_locations(cadata=data)
        except (OSError, ValueError) as error:
            raise LoadError("unable to load CA list") from error
    context.verify_mode = ssl.CERT_REQUIRED
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0


def _text(path: str) -> str:
    if not os.path.isfile(path):
        return ""
    with open(path, encoding="latin-1") as file:
        return file.read() + "\n"


def _set_dh(context: ssl.SSLContext, path: str) -> int:
    """Use the parameters of a file unless they are weak; returns their bits, negative if they are too few."""
    try:
        with open(path, encoding="latin-1") as file:
            bits = _bits_of_dh(file.read())
        if bits < LEAST_DH_BITS:
            return -bits
        context.load_dh_params(path)
    except (OSError, ValueError, IndexError) as error:
        raise LoadError("unable to set DH parameters") from error
    return bits


def _bits_of_dh(text: str) -> int:
    """Bits of the prime: the first INTEGER in the SEQUENCE that is base64 between the lines. Raises ValueError."""
    start = text.index("DH PARAMETERS-----") + len("DH PARAMETERS-----")  # also X9.42's, which begin the same
    der = binascii.a2b_base64(text[start : text.index("-----END", start)])
    inner, _ = _contents(der, 0x30)
    prime, _ = _contents(inner, 0x02)
    return int.from_bytes(prime, "big").bit_length()


def _contents(der: bytes, tag: int) -> tuple[bytes, bytes]:
    """The contents of the DER element at the beginning, and what follows it. Raises ValueError, IndexError."""
    if der[0] != tag:
        raise ValueError("another element is expected")
    size, at = der[1], 2
    if size & 0x80:
        at += size & 0x7F
        size = int.from_bytes(der[2:at], "big")
    return der[at : at + size], der[at + size :]


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
            return CERTIFICATE.encode() not in file.read()
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


def first_certificate(text: str) -> str:
    """The first certificate of a PEM file that has one."""
    end = "-----END CERTIFICATE-----"
    start = text.index(CERTIFICATE)
    return text[start : text.index(end, start) + len(end)] + "\n"
