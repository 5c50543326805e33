"""What the token of an authuser entry demands of a response (access 4.3, 17.2).

hashlib and hmac are imported where they are used, because loading them costs more than the rest of a login; `preload`
brings them in before a pool forks.
"""

from __future__ import annotations

from qmail.auth.checkpassword import ACCEPTED, REJECTED, TEMPORARY, Credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LOWER_HEX = frozenset(b"0123456789abcdef")
PERCENT_DIGESTS = {32: "md5", 40: "sha1", 64: "sha256"}
"""`%` and so many hex digits: which digest of the password they are."""
CRYPT_PREFIXES = (b"$1$", b"$2a$", b"$2b$", b"$2y$", b"$5$", b"$6$", b"$7$", b"$y$")
"""Strings that crypt(3) understands."""
ARGON_PREFIX = b"$argon2id$"


def preload() -> None:
    """Import what every login needs."""
    import hashlib  # noqa: F401
    import hmac  # noqa: F401


def verify(token: bytes, who: Credentials) -> int:
    """The exit code that a response deserves under a token that is no one-letter delegate."""
    if token.startswith(b"%") and len(token) - 1 in PERCENT_DIGESTS and LOWER_HEX.issuperset(token[1:]):
        return _verdict(equal(_hex_digest(PERCENT_DIGESTS[len(token) - 1], who.response), token[1:]))
    if token.startswith(CRYPT_PREFIXES):
        return check_crypt(token, who.response)
    if token.startswith(ARGON_PREFIX):
        return _check_argon(token, who.response)
    if token.startswith(b"{"):
        name, closed, value = token[1:].partition(b"}")
        scheme = SCHEMES.get(name.upper())
        if closed and scheme is not None:
            return scheme(value, who)
    return check_plain(token, who)


def equal(left: bytes, right: bytes) -> bool:
    """Compare in constant time."""
    import hmac

    return hmac.compare_digest(left, right)


def _verdict(matches: bool) -> int:
    return ACCEPTED if matches else REJECTED


def _hex_digest(method: str, data: bytes) -> bytes:
    import hashlib

    return hashlib.new(method, data).hexdigest().encode()


def check_plain(password: bytes, who: Credentials) -> int:
    """The password itself; with a challenge also its CRAM-MD5 (RFC 2195) or APOP (RFC 1939 7) digest."""
    matches = equal(who.response, password)
    if who.challenge:
        import hmac

        cram = hmac.new(password, who.challenge, "md5").hexdigest().encode()
        matches |= equal(who.response, cram)
        matches |= equal(who.response, _hex_digest("md5", who.challenge + password))
    return _verdict(matches)


def check_crypt(stored: bytes, password: bytes) -> int:
    """A crypt(3) string."""
    from qmail.auth.libcrypt import hash_password

    try:
        hashed = hash_password(password, stored)
    except OSError:
        return TEMPORARY
    return _verdict(hashed is not None and equal(hashed, stored))


def _check_argon(stored: bytes, password: bytes) -> int:
    """An Argon2 string, if an argon2 library is installed; else it cannot be decided now."""
    import importlib

    try:
        argon2 = importlib.import_module("argon2")
    except ImportError:
        return TEMPORARY
    try:
        return _verdict(bool(argon2.PasswordHasher().verify(stored, password)))
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return REJECTED


def _salted(method: str, size: int) -> Callable[[bytes, Credentials], int]:
    """{SSHA…}: base64 of the digest of password + salt, followed by the salt."""

    def check(value: bytes, who: Credentials) -> int:
        import binascii
        import hashlib

        try:
            raw = binascii.a2b_base64(value)
        except binascii.Error:
            return REJECTED
        if len(raw) < size:
            return REJECTED
        return _verdict(equal(hashlib.new(method, who.response + raw[size:]).digest(), raw[:size]))

    return check


def _crypt_scheme(value: bytes, who: Credentials) -> int:
    return check_crypt(value, who.response)


SCHEMES: dict[bytes, Callable[[bytes, Credentials], int]] = {
    b"PLAIN": check_plain,
    b"CRYPT": _crypt_scheme,
    b"SHA256-CRYPT": _crypt_scheme,
    b"SHA512-CRYPT": _crypt_scheme,
    b"BLF-CRYPT": _crypt_scheme,
    b"ARGON2ID": lambda value, who: _check_argon(value, who.response),
    b"SSHA256": _salted("sha256", 32),
    b"SSHA512": _salted("sha512", 64),
}
"""Prefixes in braces, in any case, as Dovecot writes them."""
