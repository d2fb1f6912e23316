import asyncio
import contextlib
import logging
import os
import resource
import socket
from dataclasses import replace

import pytest

from bridge.accounts.model import ClientAddress
from bridge.pop3.events import EndReason
from bridge.server.listener import Doors, Listener, PortInUse
from bridge.server.tls import TlsContexts
from bridge.server.wire import Wire
from bridge.telemetry.metrics import Metrics
from tests.server.certificates import pair, trusting
from tests.server.rig import LIMIT_S, LOGIN, Client, Rig

V1 = b"PROXY TCP4 203.0.113.9 192.0.2.2 4096 110\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x09\xc0\x00\x02\x02\x10\x00\x00\x6e"


@pytest.fixture
def rig(metrics: Metrics, tls: TlsContexts) -> Rig:
    return Rig(metrics, tls)


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
async def test_behind_a_trusted_proxy_the_client_is_who_the_header_says(rig: Rig, header: bytes) -> None:
    rig.trust_loopback()
    async with rig, Client(rig.ports[0]) as client:
        await client.send(header[:9])
        await client.send(header[9:] + LOGIN + b"QUIT\r\n")
        assert (await client.rest()).count(b"+OK") == 4
    assert [(str(seen.address), seen.port) for seen in rig.logins.clients] == [("203.0.113.9", 4096)]


async def test_a_header_and_the_tls_hello_in_one_segment_are_told_apart(rig: Rig) -> None:
    rig.trust_loopback()
    async with rig, Client(rig.ports[1]) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        await client.send(V2)  # held by the kernel until the hello fills or uncorks the segment
        starting = asyncio.create_task(client.start_tls(trusting(pair()[0])))
        async with asyncio.timeout(LIMIT_S):
            await starting
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        assert (await client.line()).startswith(b"+OK")
        assert await client.command(b"QUIT") == b"+OK bye\r\n"


async def test_nobody_else_can_claim_an_address(rig: Rig) -> None:
    async with rig, Client(rig.ports[0]) as client:
        await client.line()
        assert (await client.command(V1[:-2])).startswith(b"-ERR")
        await client.send(LOGIN + b"QUIT\r\n")
        await client.rest()
    assert str(rig.logins.clients[0].address) == "127.0.0.1"


async def test_a_trusted_proxy_without_a_header_is_not_served(rig: Rig) -> None:
    rig.trust_loopback()
    async with rig, Client(rig.ports[0]) as client:
        await client.send(LOGIN)
        with pytest.raises(ConnectionError):
            assert await client.rest() == b""
            raise ConnectionResetError  # an end of stream is as good
    assert rig.sample("connections_total", outcome="bad-proxy-header") == 1
    assert rig.logins.clients == []


async def test_a_header_that_does_not_come_in_time_ends_the_connection(rig: Rig) -> None:
    rig.trust_loopback(proxy_header_timeout_s=0.05)
    async with rig, Client(rig.ports[0]) as client:
        await client.send(V1[:20])
        assert await client.rest() == b""
    assert rig.sample("connections_total", outcome="bad-proxy-header") == 1


async def test_a_probe_of_the_load_balancer_makes_no_noise(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="bridge.server.listener")
    rig.trust_loopback()
    async with rig, Client(rig.ports[0]) as client:
        client.shut()
        assert await client.rest() == b""
    assert rig.sample("connections_total", outcome="probe") == 1
    assert caplog.records == []


async def test_over_the_limit_a_client_hears_why_and_others_go_on(rig: Rig) -> None:
    rig.doors = replace(rig.doors, max_connections=1)
    async with rig, Client(rig.ports[0]) as first:
        await first.line()
        async with Client(rig.ports[0]) as second:
            assert (await second.rest()).startswith(b"-ERR [SYS/TEMP]")
        async with Client(rig.ports[1]) as third:
            assert await third.rest() == b""
        assert (await first.command(b"QUIT")).startswith(b"+OK")
    assert rig.sample("connections_total", outcome="over-limit") == 2


async def test_one_network_cannot_take_all_and_its_place_is_given_back(rig: Rig) -> None:
    rig.doors = replace(rig.doors, max_connections_per_network=1)
    async with rig:
        async with Client(rig.ports[0]) as first:
            await first.line()
            async with Client(rig.ports[0]) as second:
                assert (await second.rest()).startswith(b"-ERR [SYS/TEMP]")
        assert await rig.end() is EndReason.CLIENT_CLOSED
        async with Client(rig.ports[0]) as third:
            assert (await third.line()).startswith(b"+OK")
    assert rig.sample("connections_total", outcome="over-network-limit") == 1


async def test_silent_clients_on_the_tls_port_are_let_go_and_others_get_in_meanwhile(rig: Rig) -> None:
    rig.doors = replace(rig.doors, tls_handshake_timeout_s=0.3)
    async with rig:
        silent = [socket.create_connection(("127.0.0.1", rig.ports[1])) for _ in range(30)]
        async with Client(rig.ports[1], tls=trusting(pair()[0])) as client:
            assert (await client.line()).startswith(b"+OK")
        for connection in silent:
            connection.settimeout(LIMIT_S)
            with connection:
                try:
                    assert await asyncio.to_thread(connection.recv, 100) == b""
                except ConnectionResetError:
                    continue
    assert rig.sample("tls_handshake_failures_total") == 30


async def test_clear_text_on_the_tls_port_is_ended_quietly(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    async with rig, Client(rig.ports[1]) as client:
        await client.send(b"CAPA\r\n" * 10)
        with contextlib.suppress(ConnectionResetError):
            await client.rest()
    assert rig.sample("tls_handshake_failures_total") == 1
    assert not [entry for entry in caplog.records if entry.exc_info]


async def test_accepted_sockets_keep_alive_and_do_not_delay(metrics: Metrics) -> None:
    found: asyncio.Queue[tuple[int, ...]] = asyncio.Queue()

    async def serve(wire, client, tls_active) -> None:
        raw = wire._transport.get_extra_info("socket")
        found.put_nowait(
            (
                raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
            )
        )
        await wire.read(timeout_s=LIMIT_S)  # until the client leaves; what stays open then is the listener's to cut

    listener = Listener(Doors("127.0.0.1", 0, None), serve, tls=None, metrics=metrics)
    await listener.start()
    async with Client(listener.ports[0]), asyncio.timeout(LIMIT_S):
        nodelay, keepalive, idle_s = await found.get()
    await listener.close()
    assert nodelay and keepalive and idle_s <= 120


async def test_without_descriptors_accepting_waits_and_goes_on(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with rig:
        async with Client(rig.ports[0]) as warm:  # threads and imports have their descriptors
            await warm.line()
        await rig.end()
        client = Client(rig.ports[0])
        probe = socket.socket()
        lowest_free = probe.fileno()
        probe.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        try:
            async with asyncio.timeout(LIMIT_S):
                await asyncio.to_thread(client.socket.connect, ("127.0.0.1", rig.ports[0]))
                while "cannot accept" not in caplog.text:
                    await asyncio.to_thread(caplog.get_records, "call")  # turns of the loop
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (await client.line()).startswith(b"+OK")
        client.socket.close()


async def test_resets_at_any_point_leave_no_descriptor_and_no_traceback(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig:
        async with Client(rig.ports[1], tls=trusting(pair()[0])) as warm:  # threads and imports have their descriptors
            await warm.line()
        await rig.end()
        before = open_descriptor_count()
        for round_number in range(120):
            async with Client(rig.ports[round_number % 2]) as client:
                if round_number % 3:
                    await client.send((LOGIN + b"RETR 1\r\nQUIT\r\n")[: round_number % 40])
                client.reset()
        async with asyncio.timeout(LIMIT_S):
            while open_descriptor_count() > before:
                await asyncio.to_thread(open_descriptor_count)  # turns of the loop
    assert rig.sample("open_sessions") == 0
    assert not [entry for entry in caplog.records if entry.exc_info]


def open_descriptor_count() -> int:
    return len(os.listdir("/dev/fd"))


async def test_doors_that_close_as_soon_as_they_opened_leave_no_socket(rig: Rig) -> None:
    async with rig:
        port = rig.ports[0]
        assert rig.listener is not None
        await rig.listener.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port))


async def test_an_address_that_is_not_ours_leaves_no_door_half_open(rig: Rig) -> None:
    rig.doors = Doors("192.0.2.1", 0, 0)
    before = open_descriptor_count()
    with pytest.raises(OSError):
        await rig.__aenter__()
    assert open_descriptor_count() == before


async def test_a_client_over_ipv6_is_served_and_known_by_its_network(metrics: Metrics) -> None:
    seen: asyncio.Queue[ClientAddress] = asyncio.Queue()

    async def serve(wire: Wire, client: ClientAddress, tls_active: bool) -> None:
        seen.put_nowait(client)

    listener = Listener(Doors("::1", 0, None), serve, tls=None, metrics=metrics)
    await listener.start()
    with socket.create_connection(("::1", listener.ports[0])):
        async with asyncio.timeout(LIMIT_S):
            assert str((await seen.get()).network) == "::/64"
    await listener.close()


async def test_a_busy_port_is_said_by_name(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        rig.doors = Doors("127.0.0.1", 0, port)
        with pytest.raises(PortInUse, match=f"port {port} on 127.0.0.1"):
            await rig.__aenter__()


async def test_closed_doors_leave_those_who_are_in(rig: Rig) -> None:
    async with rig, Client(rig.ports[0]) as client:
        port = rig.ports[0]
        await client.line()
        assert rig.listener is not None
        rig.listener.stop_accepting()
        assert (await client.command(b"CAPA")).startswith(b"+OK")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port))
