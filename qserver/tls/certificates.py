"""Certificates as text: names for comparison, and what mod_ssl makes variables of (ucspi 6.6, 6.7). Imports `cryptography`."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES: dict[x509.ObjectIdentifier, tuple[str, str]] = {
    # OpenSSL's short name, mod_ssl's
    NameOID.COUNTRY_NAME: ("C", "C"),
    NameOID.STATE_OR_PROVINCE_NAME: ("ST", "ST"),
    NameOID.LOCALITY_NAME: ("L", "L"),
    NameOID.ORGANIZATION_NAME: ("O", "O"),
    NameOID.ORGANIZATIONAL_UNIT_NAME: ("OU", "OU"),
    NameOID.COMMON_NAME: ("CN", "CN"),
    NameOID.TITLE: ("title", "T"),
    x509.ObjectIdentifier("2.5.4.43"): ("initials", "I"),
    NameOID.GIVEN_NAME: ("GN", "G"),
    NameOID.SURNAME: ("SN", "S"),
    x509.ObjectIdentifier("2.5.4.13"): ("description", "D"),
    NameOID.USER_ID: ("UID", "UID"),
    NameOID.EMAIL_ADDRESS: ("emailAddress", "Email"),
}
KEYS: tuple[tuple[type, str], ...] = (
    (rsa.RSAPublicKey, "rsaEncryption"),
    (ec.EllipticCurvePublicKey, "id-ecPublicKey"),
    (ed25519.Ed25519PublicKey, "ED25519"),
    (ed448.Ed448PublicKey, "ED448"),
    (dsa.DSAPublicKey, "dsaEncryption"),
)
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def load(der: bytes) -> x509.Certificate:
    """Raises ValueError."""
    return x509.load_der_x509_certificate(der)


def first_of(path: str) -> x509.Certificate:
    """The first certificate of a PEM file. Raises OSError, ValueError."""
    with open(path, "rb") as file:
        return x509.load_pem_x509_certificate(file.read())


def pem(der: bytes) -> str:
    """The same certificate as text."""
    return load(der).public_bytes(Encoding.PEM).decode("ascii")


def host_names(certificate: x509.Certificate) -> list[str]:
    """The names a host may have: its dNSNames, or where there are none its common name."""
    return alternative_names(certificate, x509.DNSName) or [
        str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    ]


def alternative_names(certificate: x509.Certificate, kind: type[x509.DNSName | x509.RFC822Name]) -> list[str]:
    """The subject's alternative names of one kind, in their order; none where they cannot be read."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [name.value for name in extension if isinstance(name, kind)]


def matching(certificate: x509.Certificate, host: str) -> str | None:
    """None where the certificate is the host's (no wildcards); else the name that was compared last."""
    names = host_names(certificate)
    if any(name.lower() == host.lower() for name in names):
        return None
    return names[-1] if names else ""


def one_line(name: x509.Name) -> str:
    """`/C=US/O=Lab/CN=loopback`, as OpenSSL's oneline prints a name."""
    parts = []
    for attribute in name:
        short = NAMES.get(attribute.oid, (attribute.oid.dotted_string, ""))[0]
        parts.append(f"/{short}={_printable(attribute.value)}")
    return "".join(parts)


def _printable(value: str | bytes) -> str:
    data = value if isinstance(value, bytes) else value.encode("utf-8")
    return "".join(chr(byte) if 32 <= byte <= 126 else f"\\x{byte:02X}" for byte in data)


def variables(who: str, certificate: x509.Certificate) -> Iterator[tuple[str, str]]:
    """The mod_ssl variables of one certificate; `who` is SERVER or CLIENT."""
    start = f"SSL_{who}_"
    yield f"{start}M_VERSION", str(certificate.version.value + 1)
    yield f"{start}M_SERIAL", str(certificate.serial_number)
    for letter, name in (("S", certificate.subject), ("I", certificate.issuer)):
        yield f"{start}{letter}_DN", one_line(name)
        for attribute in name:
            if attribute.oid in NAMES:
                yield f"{start}{letter}_DN_{NAMES[attribute.oid][1]}", _printable(attribute.value)
    yield f"{start}A_SIG", certificate.signature_algorithm_oid._name
    key = certificate.public_key()
    yield f"{start}A_KEY", next((text for kind, text in KEYS if isinstance(key, kind)), "unknown")
    for label, kind in (("DNS", x509.DNSName), ("Email", x509.RFC822Name)):
        for number, text in enumerate(alternative_names(certificate, kind)):
            yield f"{start}SAN_{label}_{number}", text
    yield f"{start}V_START", moment(certificate.not_valid_before_utc.timetuple())
    yield f"{start}V_END", moment(certificate.not_valid_after_utc.timetuple())
    yield f"{start}CERT", certificate.public_bytes(Encoding.PEM).decode("ascii")


def moment(when: tuple[int, ...]) -> str:
    """`Jan 12 10:57:43 2014 GMT`, the day padded with a blank."""
    year, month, day, hour, minute, second = when[:6]
    return f"{MONTHS[month - 1]} {day:2} {hour:02}:{minute:02}:{second:02} {year} GMT"
