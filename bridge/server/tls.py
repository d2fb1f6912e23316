"""The certificate in use: loaded off the loop, replaced when its files change, never by one that is no good."""

import asyncio
import logging
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bridge.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_EXPLICIT_VERSION, _UTC_TIME = 0xA0, 0x17  # DER tags


class CertificateUnusable(Exception):
    """The certificate and key files cannot be read or do not fit together."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    context: ssl.SSLContext
    ends_at: datetime


class TlsContexts:
    """The context for new handshakes. Call `load` once before `current`, and keep `watch` running.

    A renewed certificate reaches the next connection; running ones keep theirs.
    """

    def __init__(self, certificate_file: Path, key_file: Path, metrics: Metrics) -> None:
        self._certificate_file = certificate_file
        self._key_file = key_file
        self._metrics = metrics
        self._loaded: _Loaded | None = None
        self._stamp: object = None

    def current(self) -> ssl.SSLContext:
        return self._now().context

    @property
    def ends_at(self) -> datetime:
        """The end of the validity of the certificate in use."""
        return self._now().ends_at

    async def load(self) -> None:
        """Raises CertificateUnusable."""
        # The stamp is older than what is read: a swap in between is seen at the next look.
        stamp = await asyncio.to_thread(self._look)
        try:
            loaded = await asyncio.to_thread(_load, self._certificate_file, self._key_file)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise CertificateUnusable(f"{self._certificate_file} and {self._key_file}: {error}") from error
        finally:
            self._stamp = stamp
        self._loaded = loaded
        self._metrics.certificate_expiry.set(loaded.ends_at.timestamp())
        log.info("certificate loaded", extra={"ends_at": loaded.ends_at.isoformat()})

    async def refresh(self) -> None:
        """Load the files if they are not the ones that were tried last; keep the old pair if the new one is no good."""
        if await asyncio.to_thread(self._look) == self._stamp:
            return
        try:
            await self.load()
        except CertificateUnusable as error:
            self._metrics.certificate_reload_failures.inc()
            log.error("the changed certificate cannot be used, the old one stays", extra={"error": str(error)})

    async def watch(self, *, poll_interval_s: float) -> None:
        """Look at the files again and again, until cancelled."""
        while True:
            await asyncio.sleep(poll_interval_s)
            await self.refresh()

    def _now(self) -> _Loaded:
        if self._loaded is None:
            raise RuntimeError("no certificate was loaded")
        return self._loaded

    def _look(self) -> object:
        """What changes whenever the files do, also when a symbolic link on their path is turned to other files."""
        return [_stamp(file) for file in (self._certificate_file, self._key_file)]


def _stamp(file: Path) -> tuple[int, ...]:
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _load(certificate_file: Path, key_file: Path) -> _Loaded:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["pop3"])  # RFC 7301; registered by IANA
    context.load_cert_chain(certificate_file, key_file, password=_no_password)
    return _Loaded(context, ends_at(ssl.PEM_cert_to_DER_cert(_first_certificate(certificate_file.read_text()))))


def _no_password() -> str:
    raise ValueError("the key is encrypted")  # OpenSSL would ask at the terminal


def _first_certificate(pem: str) -> str:
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    start, stop = pem.find(begin), pem.find(end)
    if start < 0 or stop < 0:
        raise ValueError("no certificate in the file")
    return pem[start : stop + len(end)]


def ends_at(certificate: bytes) -> datetime:
    """The notAfter of a DER certificate (RFC 5280 section 4.1.2.5), which `ssl` does not tell of one's own."""
    content, _ = _der(certificate, 0)
    content, _ = _der(certificate, content)  # into tbsCertificate
    if certificate[content] == _EXPLICIT_VERSION:
        _, content = _der(certificate, content)
    for _skipped in ("serialNumber", "signature", "issuer"):
        _, content = _der(certificate, content)
    content, _ = _der(certificate, content)  # into validity
    _, content = _der(certificate, content)  # over notBefore
    start, stop = _der(certificate, content)
    text = certificate[start:stop].decode("ascii")
    if certificate[content] == _UTC_TIME:  # two digits of the year: 1950 to 2049
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _der(data: bytes, position: int) -> tuple[int, int]:
    """Where the content of the element at this position begins and ends."""
    octets = data[position + 1]
    start = position + 2
    if octets & 0x80:
        start += octets & 0x7F
        octets = int.from_bytes(data[position + 2 : start], "big")
    return start, start + octets
