import asyncio

import pytest

from bridge.pop3.events import EndReason
from bridge.server.drain import DrainReport
from bridge.server.tls import TlsContexts
from bridge.telemetry.metrics import Metrics
from tests.server.rig import LIMIT_S, Client, Rig


@pytest.fixture
def rig(metrics: Metrics, tls: TlsContexts) -> Rig:
    return Rig(metrics, tls)


def start_drain(rig: Rig, **limits: float) -> "asyncio.Task[DrainReport]":
    assert rig.listener is not None
    chosen = {"accept_grace_s": 0.0, "idle_s": 0.0, "timeout_s": LIMIT_S, **limits}
    return asyncio.create_task(rig.drain.drain(rig.listener.stop_accepting, **chosen))


async def test_sessions_before_login_and_idle_ones_are_told_and_ended(rig: Rig) -> None:
    async with rig, Client(rig.ports[0]) as stranger, Client(rig.ports[0]) as idle:
        await stranger.line()
        await idle.login()
        await idle.command(b"DELE 1")
        draining = start_drain(rig)
        assert (await stranger.rest()).startswith(b"-ERR [SYS/TEMP]")
        assert (await idle.rest()).startswith(b"-ERR [SYS/TEMP]")
        assert [await rig.end(), await rig.end()] == [EndReason.DRAINED] * 2
        assert await draining == DrainReport(ended_count=2, cut_count=0)
    assert rig.maildrops.removed == [] and rig.maildrops.holder is None
    assert rig.drain.is_draining


async def test_a_transfer_that_runs_comes_to_its_end(rig: Rig) -> None:
    go_on = asyncio.Event()
    rig.maildrops.before_chunk = go_on.wait  # type: ignore[assignment]
    async with rig, Client(rig.ports[0]) as client:
        await client.login()
        await client.send(b"RETR 1\r\n")
        draining = start_drain(rig)
        while rig.drain.idle_limit_s is None:
            await asyncio.to_thread(go_on.is_set)  # turns of the loop
        go_on.set()
        assert b"hello\r\n.\r\n-ERR [SYS/TEMP]" in await client.rest()
        assert await draining == DrainReport(ended_count=1, cut_count=0)


async def test_an_update_that_runs_comes_to_its_end(rig: Rig) -> None:
    go_on, began = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        began.set()
        await go_on.wait()

    rig.maildrops.before_remove = wait
    async with rig, Client(rig.ports[0]) as client:
        await client.login()
        await client.send(b"DELE 1\r\nQUIT\r\n")
        await client.line()
        await began.wait()
        draining = start_drain(rig, timeout_s=0.05)
        while rig.sample("session_ends_total", reason="quit") == 0:
            go_on.set()
            await asyncio.to_thread(go_on.is_set)
        await draining
    assert rig.maildrops.removed == [1]


async def test_behind_a_long_transfer_a_client_has_its_pause_to_go_on_in(rig: Rig) -> None:
    loop = asyncio.get_running_loop()
    pause_s = 1.0
    go_on = asyncio.Event()
    rig.maildrops.before_chunk = go_on.wait  # type: ignore[assignment]
    async with rig, Client(rig.ports[0]) as client:
        await client.login()
        await client.send(b"RETR 1\r\n")
        draining = start_drain(rig, idle_s=pause_s)
        loop.call_later(1.2 * pause_s, go_on.set)
        assert (await client.until(b"\r\n.\r\n")).startswith(b"+OK 21 octets")
        await client.command(b"DELE 1")
        assert await client.command(b"QUIT") == b"+OK bye\r\n"
        assert await draining == DrainReport(ended_count=1, cut_count=0)
    assert rig.maildrops.removed == [1]


async def test_a_session_that_works_goes_on_until_it_pauses(rig: Rig) -> None:
    async with rig, Client(rig.ports[0]) as client:
        await client.login()
        draining = start_drain(rig, idle_s=LIMIT_S)
        while rig.drain.idle_limit_s is None:
            await asyncio.to_thread(rig.drain.joined, client)  # type: ignore[arg-type]
        assert await client.command(b"NOOP") == b"+OK done nothing\r\n"
        assert await client.command(b"QUIT") == b"+OK bye\r\n"
        assert await draining == DrainReport(ended_count=1, cut_count=0)


async def test_what_still_runs_at_the_limit_is_cut_without_removing(rig: Rig) -> None:
    rig.maildrops.messages = [b"x" * 19_999_998 + b"\r\n"]
    async with rig, Client(rig.ports[0], receive_octets=4_096) as client:
        await client.login()
        await client.send(b"DELE 1\r\nRSET\r\nRETR 1\r\nQUIT\r\n")
        report = await start_drain(rig, timeout_s=0.1)
        assert report == DrainReport(ended_count=0, cut_count=1)
        assert await rig.end() is EndReason.DRAINED
        assert rig.maildrops.removed == [] and rig.maildrops.holder is None


async def test_new_clients_are_served_within_the_grace_for_load_balancers(rig: Rig) -> None:
    async with rig:
        draining = start_drain(rig, accept_grace_s=LIMIT_S, timeout_s=2 * LIMIT_S)
        async with Client(rig.ports[0]) as client:
            await client.login()
            assert await client.command(b"QUIT") == b"+OK bye\r\n"
        draining.cancel()
        with pytest.raises(asyncio.CancelledError):
            await draining
