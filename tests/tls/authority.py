"""Keys and certificates for tests, made by openssl(1)."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support import peer

EC = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")


def openssl(*words: str | Path, data: bytes = b"") -> bytes:
    """Run openssl; its output."""
    done = subprocess.run([peer("openssl"), *map(str, words)], input=data, capture_output=True, timeout=40)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


class Authority:
    """A certificate authority in a directory of its own."""

    def __init__(self, top: Path, name: str = "Test CA") -> None:
        top.mkdir(parents=True, exist_ok=True)
        self.top = top
        self.cafile = top / "ca.pem"
        self._key = top / "ca.key"
        openssl("req", "-x509", "-newkey", *EC, "-nodes", "-days", "30", "-subj", f"/CN={name}", "-keyout", self._key,
                "-out", self.cafile)  # fmt: skip

    def lower(self, name: str) -> Authority:
        """An authority with a certificate of this one."""
        other = Authority(self.top / name, name)
        request, extensions = other.top / "ca.csr", other.top / "ca.ext"
        openssl("req", "-new", "-key", other._key, "-subj", f"/CN={name}", "-out", request)
        extensions.write_text("basicConstraints=critical,CA:TRUE\n")
        openssl("x509", "-req", "-in", request, "-CA", self.cafile, "-CAkey", self._key, "-CAcreateserial", "-days", "20",
                "-extfile", extensions, "-out", other.cafile)  # fmt: skip
        return other

    def expired(self, name: str) -> tuple[Path, Path]:
        """Certificate and key that were good until yesterday."""
        certificate, key = self.issue(f"{name}-expired", san=f"DNS:{name}", subject=f"/CN={name}")
        authority = serialization.load_pem_private_key(self._key.read_bytes(), None)
        assert isinstance(authority, ec.EllipticCurvePrivateKey)
        old = x509.load_pem_x509_certificate(certificate.read_bytes())
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(old.issuer, old.subject, old.public_key(), old.serial_number)
        for extension in old.extensions:
            builder = builder.add_extension(extension.value, extension.critical)
        new = builder.not_valid_before(now - timedelta(9)).not_valid_after(now - timedelta(1)).sign(authority, hashes.SHA256())
        certificate.write_bytes(new.public_bytes(serialization.Encoding.PEM))
        return certificate, key

    def issue(self, name: str, *, san: str = "", subject: str = "", password: str = "", rsa: bool = False) -> tuple[Path, Path]:
        """Certificate and key for a name; `san` as openssl writes it (DNS:a,DNS:b)."""
        certificate, key, request = (self.top / f"{name}.{suffix}" for suffix in ("pem", "key", "csr"))
        kind = ("rsa:2048",) if rsa else EC
        secret = ["-passout", f"pass:{password}"] if password else ["-nodes"]
        openssl("req", "-newkey", *kind, *secret, "-subj", subject or f"/CN={name}", "-keyout", key, "-out", request)
        extensions = self.top / "extensions"
        extensions.write_text(f"subjectAltName={san}\n" if san else "basicConstraints=CA:FALSE\n")
        openssl("x509", "-req", "-in", request, "-CA", self.cafile, "-CAkey", self._key, "-CAcreateserial", "-days", "20",
                "-extfile", extensions, "-out", certificate)  # fmt: skip
        return certificate, key
