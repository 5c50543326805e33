"""TLS contexts from files and words; every failure is a `LoadError` in ucspi-ssl's words (ucspi 6.1, 8)."""

from __future__ import annotations

import os
from binascii import a2b_base64

from qserver.base.getopt import scan_number
from qserver.tls.library import BadFile, Context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SUITE = "TLS_"
"""Elements of a cipher list that begin so are suites of TLS 1.3."""
ANY_LEVEL = "@SECLEVEL=0"
"""In a cipher list: versions before TLS 1.2 too, which the library has at no other level."""
MODERN = ":".join((
    "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-CHACHA20-POLY1305",
    "DHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES256-GCM-SHA384", "DHE-RSA-CHACHA20-POLY1305",
))  # fmt: skip
"""A server's suites before TLS 1.3 if nobody asks for others: Mozilla's intermediate ones."""
LONGEST_PASSWORD = 1024
LEAST_DH_BITS = 2048
CERTIFICATE = "-----BEGIN CERTIFICATE-----"


class LoadError(Exception):
    """What could not be loaded."""


class Keys:
    """A certificate with its chain, its key (empty: in the same file), and the key's password."""

    __slots__ = ("certificate", "key", "password")

    def __init__(self, certificate: str, key: str, password: bytes | None = None) -> None:
        self.certificate = certificate
        self.key = key
        self.password = password


def for_client(*, verify: bool, cafile: str, cadir: str, keys: Keys | None, ciphers: str, depth: int | None) -> Context:
    """The context of a client. Names are not compared here. Raises LoadError."""
    context = _strict(server=False) if depth is not None or SUITE in ciphers else Context(server=False)
    context.demand(verify=verify)
    trust(context, cafile, cadir)
    if keys is not None:
        _load(context, keys, "unable to load certificate", "unable to load key pair")
    set_ciphers(context, ciphers)
    if depth is not None:
        context.set_depth(depth)
    return context


def _strict(*, server: bool) -> Context:
    from qserver.tls import openssl

    return openssl.Context(server=server)


class ServerFiles:
    """What sslserver reads at its start, by the variables of ucspi 6.1; an empty value is none."""

    __slots__ = ("ccafile", "cadir", "cafile", "certfile", "chainfile", "ciphers", "depth", "dhfile", "keyfile")

    def __init__(self, env: Mapping[str, str]) -> None:
        self.certfile = env.get("CERTFILE", "")
        self.keyfile = env.get("KEYFILE", "")
        self.chainfile = env.get("CERTCHAINFILE", "")
        self.cafile = env.get("CAFILE", "")
        self.cadir = env.get("CADIR", "")
        self.ccafile = env.get("CCAFILE", "")
        self.dhfile = env.get("DHFILE", "")
        self.ciphers = env.get("CIPHERS", "")
        self.depth = scan_number(env.get("VERIFYDEPTH", ""), 1)


def for_server(
    files: ServerFiles, *, ask: bool, password: bytes | None, protocols: tuple[str, ...] = ()
) -> tuple[Context, int]:
    """The context of a server, and the bits of its DH parameters (0: none). `ask`: client certificates are demanded.

    Everything is read here: after a chroot no file is there. Raises LoadError.
    """
    context = _strict(server=True) if ask or SUITE in files.ciphers else Context(server=True)
    certificate, what = files.chainfile or files.certfile, "certificate chain file" if files.chainfile else "certificate"
    if certificate:
        keys = Keys(certificate, files.keyfile, password)
        _load(context, keys, f"unable to load {what}: {certificate}", f"unable to load key: {keys.key or certificate}")
    if ask:
        _ask(context, files)
    bits = _set_dh(context, files.dhfile) if files.dhfile else 0
    set_ciphers(context, files.ciphers, MODERN)
    if protocols:
        context.speak(protocols)
    return context, bits


def _ask(context: Context, files: ServerFiles) -> None:
    """Demand certificates of the authorities in CAFILE and CADIR; CCAFILE's are named to the client."""
    try:
        if not files.ccafile or _is_no_certificate(files.ccafile):
            raise BadFile
        context.name_authorities(files.ccafile)
    except BadFile as error:
        raise LoadError("unable to load client CA list") from error
    trust(context, files.cafile, "")
    if files.cadir:
        try:
            texts = [_text(os.path.join(files.cadir, name)) for name in sorted(os.listdir(files.cadir))]
            context.trust(data="".join(text for text in texts if CERTIFICATE in text))
        except (OSError, BadFile) as error:
            raise LoadError("unable to load CA list") from error
    context.demand(verify=True)
    context.set_depth(files.depth)


def _text(path: str) -> str:
    if not os.path.isfile(path):
        return ""
    with open(path, encoding="latin-1") as file:
        return file.read() + "\n"


def _set_dh(context: Context, path: str) -> int:
    """Use the parameters of a file unless they are weak; returns their bits, negative if they are too few."""
    try:
        with open(path, encoding="latin-1") as file:
            bits = _bits_of_dh(file.read())
        if bits < LEAST_DH_BITS:
            return -bits
        context.use_dh(path)
    except (OSError, ValueError, IndexError, BadFile) as error:
        raise LoadError("unable to set DH parameters") from error
    return bits


def _bits_of_dh(text: str) -> int:
    """Bits of the prime: the first INTEGER in the SEQUENCE that is base64 between the lines. Raises ValueError."""
    start = text.index("DH PARAMETERS-----") + len("DH PARAMETERS-----")  # also X9.42's, which begin the same
    der = a2b_base64(text[start : text.index("-----END", start)])
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


def trust(context: Context, cafile: str, cadir: str) -> None:
    """Trust the authorities of a file and of a directory. Raises LoadError."""
    try:
        if cafile:
            context.trust(cafile=cafile)
        if cadir:
            if not os.path.isdir(cadir):
                raise BadFile
            context.trust(cadir=cadir)
    except BadFile as error:
        raise LoadError("unable to load CA list") from error


def _load(context: Context, keys: Keys, no_certificate: str, no_key: str) -> None:
    """Raises LoadError: one of the two complaints, or that they do not belong together."""
    try:
        context.use_certificate(keys.certificate, keys.key or keys.certificate, keys.password or b"")
    except BadFile as error:
        if error.mismatch:
            raise LoadError("key does not match certificate") from error
        raise LoadError(no_certificate if _is_no_certificate(keys.certificate) else no_key) from error


def _is_no_certificate(path: str) -> bool:
    """Whether the certificate alone is at fault."""
    try:
        with open(path, "rb") as file:
            return CERTIFICATE.encode() not in file.read()
    except OSError:
        return True


def set_ciphers(context: Context, text: str, usual: str = "") -> None:
    """A list as CIPHERS has it; `usual`: the suites before TLS 1.3 where it has none of them. Raises LoadError."""
    words = [word for word in text.split(":") if word]
    suites = [word for word in words if word.startswith(SUITE)]
    names = ":".join(word for word in words if word not in suites) or usual
    try:
        if names:
            context.set_ciphers(names)
        if suites:
            context.set_suites(":".join(suites))
    except BadFile as error:
        raise LoadError("unable to set cipher list") from error
    if ANY_LEVEL in words:
        context.allow_old()


def password_from(fd: int) -> bytes:
    """A password up to a NUL or the end. Raises OSError, LoadError for one that is too long."""
    data = b""
    while b"\0" not in data and (block := os.read(fd, LONGEST_PASSWORD)):
        data += block
        if len(data) > LONGEST_PASSWORD and b"\0" not in data[:LONGEST_PASSWORD]:
            raise LoadError("password too long")
    return data.partition(b"\0")[0]
