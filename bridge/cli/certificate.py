"""Whether a certificate and its key will do: tried by a TLS handshake with ourselves, in memory."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class CertificateProblem(Exception):
    """Clients would not be served with it; the message says why."""


@dataclass(frozen=True, slots=True)
class Certificate:
    names: tuple[str, ...]
    ends_at: datetime


def examine_certificate(certificate_file: Path, key_file: Path) -> Certificate:
    """Load both files and shake hands. Raises CertificateProblem. Who signed it is not judged: clients do that."""
    _read(certificate_file)
    if b"ENCRYPTED" in _read(key_file):  # OpenSSL would ask the terminal for the password
        raise CertificateProblem(f"{key_file} is encrypted: give it without a password")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it is its own trust anchor here
    try:
        server.load_cert_chain(certificate_file, key_file)
        client.load_verify_locations(certificate_file)
        found = _shake_hands(server, client)
    except ssl.SSLCertVerificationError as error:
        raise CertificateProblem(f"{certificate_file}: {error.verify_message}") from None
    except ssl.SSLError as error:
        raise CertificateProblem(_in_words(error, certificate_file, key_file)) from None
    names = tuple(value for kind, value in found.get("subjectAltName", ()) if kind in ("DNS", "IP Address"))
    return Certificate(names, datetime.fromtimestamp(ssl.cert_time_to_seconds(found["notAfter"]), UTC))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateProblem(f"{path} cannot be read: {error.strerror}") from None


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> Mapping[str, Any]:
    """What the client learns of the server's certificate."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    waiting = list(ends)
    while waiting:
        for end in tuple(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                continue
    return ends[0].getpeercert() or {}


def _in_words(error: ssl.SSLError, certificate_file: Path, key_file: Path) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"{key_file} is not the key of {certificate_file}"
    return f"{certificate_file} and {key_file} are not a certificate and its key in PEM form"
