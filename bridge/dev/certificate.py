"""A certificate for this machine alone, signed by itself."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_LIFETIME = timedelta(days=365)
_RENEW_BEFORE = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    certificate_file: Path
    key_file: Path


def local_certificate(state_dir: Path, *, now: datetime | None = None) -> CertificateFiles:
    """For localhost, 127.0.0.1 and ::1; kept in the folder and made anew 30 days before it ends. Blocks shortly."""
    at = now or datetime.now(UTC)
    files = CertificateFiles(state_dir / "certificate.pem", state_dir / "key.pem")
    if not _is_usable(files, at):
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        _make(files, at)
    return files


def _is_usable(files: CertificateFiles, at: datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(files.certificate_file.read_bytes())
        key = serialization.load_pem_private_key(files.key_file.read_bytes(), password=None)
    except (FileNotFoundError, ValueError):
        return False
    return (
        certificate.not_valid_before_utc <= at < certificate.not_valid_after_utc - _RENEW_BEFORE
        and certificate.public_key() == key.public_key()
    )


def _make(files: CertificateFiles, at: datetime) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), *(x509.IPAddress(ip_address(ip)) for ip in ("127.0.0.1", "::1"))]
    usage = x509.KeyUsage(True, False, False, False, False, True, False, False, False)  # sign; and sign certificates
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - timedelta(minutes=5))
        .not_valid_after(at + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(
        files.key_file,
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    _write(files.certificate_file, certificate.public_bytes(serialization.Encoding.PEM))


def _write(file: Path, content: bytes) -> None:
    unfinished = file.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(content)
    unfinished.rename(file)
