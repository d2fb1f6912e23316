import asyncio
import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bridge.server.tls import CertificateUnusable, TlsContexts, ends_at
from bridge.telemetry.metrics import Metrics
from tests.server.certificates import NOW, pair, trusting, write_pair

OLD, NEW = pair(), pair(ends_at=NOW + timedelta(days=180))


def shown(context: ssl.SSLContext, *, client: ssl.SSLContext | None = None) -> ssl.SSLObject:
    """The client's end of a handshake in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client or trusting(OLD[0], NEW[0])
    client.set_alpn_protocols(["pop3"])
    ours = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    theirs = context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for end in (ours, theirs):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ours


def end_of(context: ssl.SSLContext) -> datetime:
    certificate = shown(context).getpeercert()
    assert certificate is not None
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)


async def test_tls_is_at_least_1_2_with_alpn_and_without_renegotiation(tls: TlsContexts) -> None:
    context = tls.current()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert shown(context).selected_alpn_protocol() == "pop3"


async def test_an_old_client_that_knows_only_tls_1_1_is_refused(tls: TlsContexts) -> None:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        client.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning):
        client.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        shown(tls.current(), client=client)


async def test_the_end_of_the_certificate_is_known_and_shown_as_a_metric(tls: TlsContexts, metrics: Metrics) -> None:
    assert tls.ends_at == NOW + timedelta(days=90)
    shown_at = metrics.registry.get_sample_value("pop3_bridge_certificate_expiry_timestamp_seconds")
    assert shown_at == tls.ends_at.timestamp()


@pytest.mark.parametrize("end", [datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2050, 1, 1, tzinfo=UTC)])
async def test_the_end_is_right_on_both_sides_of_the_year_2050(end: datetime) -> None:
    assert ends_at(ssl.PEM_cert_to_DER_cert(pair(ends_at=end)[0].decode())) == end


async def test_a_renewed_pair_is_used_for_the_next_handshake(tls: TlsContexts, tmp_path: Path) -> None:
    write_pair(tmp_path / "tls", NEW)
    await tls.refresh()
    assert end_of(tls.current()) == NOW + timedelta(days=180)


async def test_a_pair_that_is_swapped_by_a_symbolic_link_is_seen(tmp_path: Path, metrics: Metrics) -> None:
    write_pair(tmp_path / "first", OLD)
    write_pair(tmp_path / "second", NEW)
    link = tmp_path / "..data"
    link.symlink_to("first")
    contexts = TlsContexts(link / "tls.crt", link / "tls.key", metrics)
    await contexts.load()
    (tmp_path / "next").symlink_to("second")
    os.replace(tmp_path / "next", link)
    await contexts.refresh()
    assert end_of(contexts.current()) == NOW + timedelta(days=180)


@pytest.mark.parametrize("half", [(OLD[0], NEW[1]), (NEW[0][:200], NEW[1]), (b"", b"")], ids=["key", "cut", "empty"])
async def test_a_pair_that_is_no_good_leaves_the_old_one_and_is_counted_once(
    tls: TlsContexts, tmp_path: Path, metrics: Metrics, half: tuple[bytes, bytes]
) -> None:
    write_pair(tmp_path / "tls", half)
    await tls.refresh()
    await tls.refresh()
    assert end_of(tls.current()) == NOW + timedelta(days=90)
    assert metrics.registry.get_sample_value("pop3_bridge_certificate_reload_failures_total") == 1
    write_pair(tmp_path / "tls", NEW)
    await tls.refresh()
    assert end_of(tls.current()) == NOW + timedelta(days=180)


async def test_files_that_are_gone_leave_the_old_pair(tls: TlsContexts, tmp_path: Path) -> None:
    (tmp_path / "tls" / "tls.key").unlink()
    await tls.refresh()
    assert end_of(tls.current()) == NOW + timedelta(days=90)


async def test_a_start_without_a_usable_pair_says_which_files(tmp_path: Path, metrics: Metrics) -> None:
    with pytest.raises(CertificateUnusable, match=r"tls\.crt"):
        await TlsContexts(tmp_path / "tls.crt", tmp_path / "tls.key", metrics).load()


async def test_watching_picks_up_a_renewal_by_itself(tls: TlsContexts, tmp_path: Path) -> None:
    async with asyncio.timeout(10):
        watching = asyncio.create_task(tls.watch(poll_interval_s=0.001))
        write_pair(tmp_path / "tls", NEW)
        while tls.ends_at != NOW + timedelta(days=180):
            await asyncio.to_thread(tls.current)  # turns of the loop
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
