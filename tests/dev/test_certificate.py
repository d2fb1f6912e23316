import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bridge.dev.certificate import CertificateFiles, local_certificate


def test_the_certificate_is_kept_until_it_is_about_to_end(tmp_path: Path) -> None:
    files = local_certificate(tmp_path)
    first = files.certificate_file.read_bytes()
    assert local_certificate(tmp_path).certificate_file.read_bytes() == first
    later = datetime.now(UTC) + timedelta(days=300)
    assert local_certificate(tmp_path, now=later).certificate_file.read_bytes() == first
    too_late = datetime.now(UTC) + timedelta(days=340)
    assert local_certificate(tmp_path, now=too_late).certificate_file.read_bytes() != first


def test_only_its_owner_may_read_the_key(tmp_path: Path) -> None:
    assert local_certificate(tmp_path / "new").key_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("damaged", ["certificate.pem", "key.pem"])
def test_a_damaged_file_is_replaced(tmp_path: Path, damaged: str) -> None:
    local_certificate(tmp_path)
    (tmp_path / damaged).write_bytes(b"?")
    files = local_certificate(tmp_path)
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(files.certificate_file, files.key_file)


def test_a_key_of_another_certificate_is_replaced(tmp_path: Path) -> None:
    files, other = local_certificate(tmp_path / "a"), local_certificate(tmp_path / "b")
    files.key_file.write_bytes(other.key_file.read_bytes())
    assert local_certificate(tmp_path / "a") == files
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(files.certificate_file, files.key_file)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
async def test_a_strict_client_that_trusts_it_connects_by_each_name(tmp_path: Path, name: str) -> None:
    files: CertificateFiles = local_certificate(tmp_path)
    door = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    door.load_cert_chain(files.certificate_file, files.key_file)

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"+OK\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(greet, "127.0.0.1", 0, ssl=door) as server:
        port = server.sockets[0].getsockname()[1]
        trust = ssl.create_default_context(cafile=files.certificate_file)
        trust.verify_flags |= ssl.VERIFY_X509_STRICT
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname=name)
        assert await reader.readline() == b"+OK\r\n"
        writer.close()
        await writer.wait_closed()
