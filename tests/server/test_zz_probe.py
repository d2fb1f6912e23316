import asyncio, contextlib, ssl, os, socket, time
import pytest
from bridge.pop3.events import EndReason
from tests.server.certificates import pair, trusting
from tests.server.rig import *
from tests.server.conftest import *


@pytest.fixture
def rig(metrics, tls):
    return Rig(metrics, tls)


def in_one_segment(raw, tls, data):
    """session and close_notify in one segment"""


async def test_one_segment(rig):
    async with rig, Client(rig.ports[1], tls=trusting(pair()[0])) as client:
        await client.line()
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        await client.send(LOGIN + b"STAT\r\nDELE 1\r\nQUIT\r\n")
        with contextlib.suppress(OSError):
            await asyncio.to_thread(client.socket.unwrap)
        print(await rig.end(), rig.maildrops.removed)


async def test_silent_at_end(rig):
    async with rig, Client(rig.ports[1], tls=trusting(pair()[0])) as client:
        await client.login()
        t = time.monotonic()
        await client.send(b"QUIT\r\n")
        await client.line()
        print(await rig.end(), time.monotonic() - t)
