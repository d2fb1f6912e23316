import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bridge.server.tls import TlsContexts
from bridge.server.wire import TLS_SHUTDOWN_TIMEOUT_S, ConnectionLost, Interrupted, Wire, WriteStalled
from tests.server.certificates import pair, trusting

LIMIT_S = 20.0
FLOOD_OCTETS = 60_000_000  # more than any buffer of the kernel


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Wire, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        theirs = socket.create_connection(listening.getsockname())
        ours, _ = listening.accept()
    ours.setblocking(False)
    wire = Wire()
    await asyncio.get_running_loop().connect_accepted_socket(lambda: wire, ours)
    with theirs:
        async with asyncio.timeout(LIMIT_S):
            yield wire, theirs
        wire.abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def connected_by(way: str, tls: TlsContexts) -> AsyncIterator[tuple[Wire, socket.socket]]:
    """In clear, behind STLS, or in TLS from the first octet."""
    if way == "clear":
        async with connected() as ends:
            yield ends
    elif way == "stls":
        async with connected() as (wire, client):
            with await upgraded(wire, client, tls) as client_in_tls:
                yield wire, client_in_tls
    else:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            theirs = socket.create_connection(listening.getsockname())
            ours, _ = listening.accept()
        ours.setblocking(False)
        wire = Wire()
        async with asyncio.timeout(LIMIT_S):
            shaking = asyncio.create_task(asyncio.to_thread(shake_hands, theirs))
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: wire, ours, ssl=tls.current(), ssl_shutdown_timeout=TLS_SHUTDOWN_TIMEOUT_S
            )
            with await shaking as client:
                yield wire, client
            wire.abort()
            await asyncio.sleep(0)


async def upgraded(wire: Wire, client: socket.socket, tls: TlsContexts) -> socket.socket:
    starting = asyncio.create_task(
        wire.start_tls(tls.current(), reply=b"+OK\r\n", write_timeout_s=LIMIT_S, handshake_timeout_s=LIMIT_S)
    )
    assert await asyncio.to_thread(client.recv, 100) == b"+OK\r\n"
    shaken = await asyncio.to_thread(shake_hands, client)
    assert await starting == b""
    return shaken


def shake_hands(client: socket.socket) -> socket.socket:
    return trusting(pair()[0]).wrap_socket(client, server_hostname="localhost")


WAYS = pytest.mark.parametrize("way", ["clear", "stls", "tls"])


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


async def test_what_came_before_the_end_of_the_stream_is_read_first() -> None:
    async with connected() as (wire, client):
        client.sendall(b"QUIT\r\n")
        client.shutdown(socket.SHUT_WR)
        assert await wire.read(timeout_s=LIMIT_S) == b"QUIT\r\n"
        assert await wire.read(timeout_s=LIMIT_S) == b""
        await wire.write(b"+OK\r\n", timeout_s=LIMIT_S)
        assert await asyncio.to_thread(client.recv, 100) == b"+OK\r\n"


async def test_a_silent_client_is_waited_for_only_so_long_again_and_again() -> None:
    async with connected() as (wire, client):
        for timeout_s in (0.02, 0.01, 0.0):
            with pytest.raises(TimeoutError):
                await wire.read(timeout_s=timeout_s)
        client.sendall(b"x")
        assert await wire.read(timeout_s=LIMIT_S) == b"x"


async def test_a_reset_shows_as_a_lost_connection() -> None:
    async with connected() as (wire, client):
        reset(client)
        with pytest.raises(ConnectionLost):
            await wire.read(timeout_s=LIMIT_S)
        with pytest.raises(ConnectionLost):
            await wire.write(b"x", timeout_s=LIMIT_S)
        with pytest.raises(ConnectionLost):
            async with wire.cancel_on_loss():
                pass


async def test_a_reset_cancels_the_work_that_runs_for_it() -> None:
    async with connected() as (wire, client):
        with pytest.raises(ConnectionLost):
            async with wire.cancel_on_loss():
                reset(client)
                await asyncio.Event().wait()
        task = asyncio.current_task()
        assert task is not None and task.cancelling() == 0


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async with connected() as (wire, _):
        began = asyncio.Event()

        async def work() -> None:
            async with wire.cancel_on_loss():
                began.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_an_interruption_wakes_the_read_that_waits_and_no_other() -> None:
    async with connected() as (wire, client):
        reading = asyncio.create_task(wire.read(timeout_s=LIMIT_S))
        await asyncio.sleep(0)
        wire.interrupt()
        with pytest.raises(Interrupted):
            await reading
        client.sendall(b"x")
        assert await wire.read(timeout_s=LIMIT_S) == b"x"


async def test_an_interruption_waits_behind_what_has_come() -> None:
    async with connected() as (wire, _):
        wire.interrupt()
        wire.data_received(b"DELE 1\r\n")
        assert await wire.read(timeout_s=LIMIT_S) == b"DELE 1\r\n"
        with pytest.raises(Interrupted):
            await wire.read(timeout_s=LIMIT_S)


async def test_a_client_that_is_not_read_has_to_wait_and_loses_nothing() -> None:
    async with connected() as (wire, client):
        sending = asyncio.create_task(asyncio.to_thread(client.sendall, b"x" * 20_000_000))
        received = 0
        while received < 20_000_000:
            data = await wire.read(timeout_s=LIMIT_S)
            assert len(data) < 1_000_000
            received += len(data)
        await sending


@WAYS
async def test_a_client_that_floods_a_wire_that_is_not_read_is_held_up(way: str, tls: TlsContexts) -> None:
    def flood(client: socket.socket) -> int:
        client.settimeout(0.3)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < FLOOD_OCTETS:
                sent += client.send(b"NOOP\r\n" * 10_000)
        return sent

    async with connected_by(way, tls) as (wire, client):
        assert await asyncio.to_thread(flood, client) < FLOOD_OCTETS
        assert len(await wire.read(timeout_s=LIMIT_S)) < 1_000_000


@WAYS
async def test_a_write_that_moves_nothing_stalls_and_holds_little(way: str, tls: TlsContexts) -> None:
    async with connected_by(way, tls) as (wire, _):
        with pytest.raises(WriteStalled):
            while True:
                await wire.write(b"x" * 65_536, timeout_s=0.05)
        assert wire.unsent()[0] < 300_000


async def test_closing_delivers_the_last_words_though_octets_were_not_read() -> None:
    async with connected() as (wire, client):
        client.sendall(b"unread" * 100)
        await wire.write(b"-ERR bye\r\n", timeout_s=LIMIT_S)
        closing = asyncio.create_task(wire.close(timeout_s=LIMIT_S))
        assert await asyncio.to_thread(client.recv, 100) == b"-ERR bye\r\n"
        assert await asyncio.to_thread(client.recv, 100) == b""
        client.close()
        await closing


@WAYS
async def test_closing_delivers_all_that_was_written_to_a_slow_client(way: str, tls: TlsContexts) -> None:
    async with connected_by(way, tls) as (wire, client):
        stalled = False
        written = 0
        while not stalled:
            try:
                written += 65_536
                await wire.write(b"x" * 65_536, timeout_s=0.05)
            except WriteStalled:
                stalled = True
        closing = asyncio.create_task(wire.close(timeout_s=LIMIT_S))
        received = 0
        while octets := await asyncio.to_thread(client.recv, 1_000_000):
            received += len(octets)
        assert received == written
        client.close()
        await closing


async def test_a_client_that_does_not_hang_up_in_tls_is_let_go(tls: TlsContexts) -> None:
    async with connected_by("tls", tls) as (wire, _):
        await wire.write(b"+OK bye\r\n", timeout_s=LIMIT_S)
        await wire.close(timeout_s=LIMIT_S)
        with pytest.raises(ConnectionLost):
            await wire.write(b"x", timeout_s=LIMIT_S)


async def test_an_end_of_stream_in_order_is_told_from_a_reset(tls: TlsContexts) -> None:
    async with connected_by("tls", tls) as (wire, client):
        assert not wire.has_ended
        with contextlib.suppress(OSError):
            await asyncio.to_thread(client.unwrap)  # type: ignore[attr-defined]
        assert await wire.read(timeout_s=LIMIT_S) == b""
        assert wire.has_ended
        with pytest.raises(ConnectionLost):
            await wire.write(b"x", timeout_s=LIMIT_S)
    async with connected() as (wire, client):
        reset(client)
        with pytest.raises(ConnectionLost):
            await wire.read(timeout_s=LIMIT_S)
        assert not wire.has_ended


async def test_octets_that_came_in_clear_behind_stls_are_given_back_and_no_reply_is_sent(tls: TlsContexts) -> None:
    async with connected() as (wire, client):
        wire.data_received(b"CAPA\r\n")
        given_back = await wire.start_tls(
            tls.current(), reply=b"+OK\r\n", write_timeout_s=LIMIT_S, handshake_timeout_s=LIMIT_S
        )
        assert given_back == b"CAPA\r\n" and wire.tls_version is None
        await wire.write(b"-ERR\r\n", timeout_s=LIMIT_S)
        assert await asyncio.to_thread(client.recv, 100) == b"-ERR\r\n"


@WAYS
async def test_closing_gives_up_on_a_client_that_takes_nothing(way: str, tls: TlsContexts) -> None:
    async with connected_by(way, tls) as (wire, _):
        with pytest.raises(WriteStalled):
            while True:
                await wire.write(b"x" * 65_536, timeout_s=0.02)
        await wire.close(timeout_s=0.02)
        with pytest.raises(ConnectionLost):
            await wire.write(b"x", timeout_s=LIMIT_S)
