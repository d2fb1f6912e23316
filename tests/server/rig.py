"""A server on loopback sockets over rooms made of plain data, and clients that see every octet and every segment."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Any

from bridge.accounts.model import ClientAddress, Identity, RefusalReason
from bridge.accounts.ports import LoginRefused
from bridge.ids import AccountId, MaildropId, ViewId
from bridge.maildrop.errors import LeaseLost, MaildropInUse
from bridge.maildrop.model import LockPolicy
from bridge.maildrop.opening import RemoveOutcome
from bridge.pop3.events import EndReason
from bridge.pop3.profile import SessionProfile
from bridge.sasl.credentials import Credentials
from bridge.server.connection import ConnectionLimits, ConnectionRooms, serve_connection
from bridge.server.drain import Drain
from bridge.server.listener import Doors, Listener
from bridge.server.tls import TlsContexts
from bridge.server.wire import Wire
from bridge.telemetry.metrics import Metrics

PROFILE = SessionProfile(implementation=None, offers_tls=True, login_requires_tls=False)
LIMIT_S = 20.0
LOGIN = b"USER ann\r\nPASS secret\r\n"


async def nothing() -> None: ...


class FakeLogins:
    def __init__(self) -> None:
        self.clients: list[ClientAddress] = []
        self.before: Callable[[], Awaitable[None]] = nothing

    async def login(self, credentials: Credentials, client: ClientAddress) -> Identity:
        self.clients.append(client)
        await self.before()
        if credentials.password != "secret":
            raise LoginRefused(RefusalReason.BAD_CREDENTIALS)
        return Identity(AccountId(7), credentials.login_name, MaildropId(1), ViewId(1), 0, None)


@dataclass
class Listing:
    """A drop listing of plain octets."""

    announced: Sequence[int]

    @property
    def count(self) -> int:
        return len(self.announced)

    @property
    def total_octets(self) -> int:
        return sum(self.announced)

    def octets(self, number: int) -> int:
        return self.announced[number - 1]

    def uidl(self, number: int) -> str:
        return f"uidl{number}"

    def octets_range(self, first: int, last: int) -> Sequence[int]:
        return self.announced[first - 1 : last]

    def uidl_range(self, first: int, last: int) -> Sequence[str]:
        return [self.uidl(number) for number in range(first, last + 1)]


class FakeOpenMaildrop:
    def __init__(self, drop: "FakeMaildrops", snapshot: Listing) -> None:
        self.snapshot = snapshot
        self.lost = asyncio.Event()
        self.retrieved: list[int] = []
        self.distrusted = drop.distrusted
        self.release_calls: list[bool] = []
        self._drop = drop

    def note_activity(self) -> None:
        self._drop.activity_count += 1

    async def message(self, number: int) -> int:
        return number

    async def has_moved(self, number: int) -> bool:
        return False

    async def distrust(self, number: int) -> None:
        self.distrusted.append(number)

    def note_retrieved(self, number: int) -> None:
        self.retrieved.append(number)

    async def last_seen_number(self) -> int:
        return self._drop.last_seen_number

    async def remove(self, numbers: Sequence[int]) -> RemoveOutcome:
        return await asyncio.shield(asyncio.create_task(self._remove(numbers)))

    async def _remove(self, numbers: Sequence[int]) -> RemoveOutcome:
        await self._drop.before_remove()
        if self.lost.is_set():
            raise LeaseLost("lost")
        self._drop.removed.extend(numbers)
        return RemoveOutcome(len(numbers) - self._drop.refused_count, self._drop.refused_count)

    async def release(self, *, by_quit: bool) -> None:
        self.release_calls.append(by_quit)
        if self._drop.holder is self:
            self._drop.holder = None
            self._drop.released.set()


@dataclass
class FakeMaildrops:
    """One maildrop with one lease, and the reader of its messages."""

    messages: list[bytes] = field(default_factory=lambda: [b"Subject: a\r\n\r\nhello\r\n", b".\r\n..\r\n"])
    announced: list[int] | None = None
    chunk_octets: int = 65_536
    refused_count: int = 0
    distrusted: list[int] = field(default_factory=list)
    fail_open: Exception | None = None
    fail_message: Exception | None = None
    unreadable: Mapping[int, Exception] = field(default_factory=dict)
    last_seen_number: int = 0
    fail_behind_octets: int | None = None
    before_remove: Callable[[], Awaitable[None]] = nothing
    before_chunk: Callable[[], Awaitable[None]] = nothing
    holder: FakeOpenMaildrop | None = None
    last: FakeOpenMaildrop | None = None
    removed: list[int] = field(default_factory=list)
    activity_count: int = 0
    sent_chunk_count: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def open(
        self, maildrop_id: MaildropId, view_id: ViewId, *, login_delay_s: float
    ) -> AsyncIterator[FakeOpenMaildrop]:
        if self.fail_open is not None:
            raise self.fail_open
        if self.holder is not None:
            raise MaildropInUse(LockPolicy.REFUSE)
        opened = FakeOpenMaildrop(self, Listing(self.announced or [len(text) for text in self.messages]))
        self.holder = self.last = opened
        self.released.clear()
        try:
            yield opened
        finally:
            await opened.release(by_quit=False)


class FakeReader:
    def __init__(self, maildrops: FakeMaildrops) -> None:
        self._maildrops = maildrops

    @asynccontextmanager
    async def open(self, message: int, *, body_lines: int | None) -> AsyncIterator[AsyncIterator[bytes]]:
        drop = self._maildrops
        await drop.before_chunk()
        if message in drop.unreadable:
            raise drop.unreadable[message]
        if drop.fail_message is not None and drop.fail_behind_octets is None:
            raise drop.fail_message
        yield self._chunks(drop.messages[message - 1])

    async def _chunks(self, text: bytes) -> AsyncIterator[bytes]:
        drop = self._maildrops
        for position in range(0, len(text), drop.chunk_octets):
            if drop.fail_message is not None and position >= (drop.fail_behind_octets or 0):
                raise drop.fail_message
            await drop.before_chunk()
            drop.sent_chunk_count += 1
            yield text[position : position + drop.chunk_octets]


@dataclass
class Rig:
    metrics: Metrics
    tls: TlsContexts | None
    profile: SessionProfile = PROFILE
    limits: ConnectionLimits = field(default_factory=ConnectionLimits)
    doors: Doors = field(default_factory=lambda: Doors("127.0.0.1", 0, 0))
    logins: FakeLogins = field(default_factory=FakeLogins)
    maildrops: FakeMaildrops = field(default_factory=FakeMaildrops)
    drain: Drain = field(default_factory=Drain)
    ends: "asyncio.Queue[EndReason]" = field(default_factory=asyncio.Queue)
    listener: Listener | None = None

    async def __aenter__(self) -> "Rig":
        rooms: Any = ConnectionRooms(
            profile=lambda client: self.profile,
            logins=self.logins,  # type: ignore[arg-type]
            maildrops=self.maildrops,  # type: ignore[arg-type]
            messages=FakeReader(self.maildrops),  # type: ignore[arg-type]
            tls=self.tls,
            drain=self.drain,
            metrics=self.metrics,
            limits=self.limits,
        )

        async def serve(wire: Wire, client: ClientAddress, tls_active: bool) -> None:
            self.ends.put_nowait(await serve_connection(wire, client, tls_active, rooms))

        self.listener = Listener(self.doors, serve, tls=self.tls, metrics=self.metrics)
        await self.listener.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self.listener is not None
        async with asyncio.timeout(LIMIT_S):
            await self.drain.all_ended()  # the clients are gone: nothing keeps the sessions
        await self.listener.close()

    def trust_loopback(self, **more: Any) -> None:
        self.doors = replace(self.doors, trusted_networks=(ip_network("127.0.0.0/8"),), **more)

    @property
    def ports(self) -> tuple[int, ...]:
        assert self.listener is not None
        return self.listener.ports

    async def end(self) -> EndReason:
        async with asyncio.timeout(LIMIT_S):
            return await self.ends.get()

    def sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"pop3_bridge_{name}", labels) or 0.0


class Client:
    """Blocking sockets in threads: as far from the server's own code as can be."""

    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None, receive_octets: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_octets is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_octets)
        self.socket.settimeout(LIMIT_S)
        self._port = port
        self._tls = tls
        self._unread = b""

    async def __aenter__(self) -> "Client":
        await asyncio.to_thread(self._connect)
        return self

    async def __aexit__(self, *error: object) -> None:
        self.socket.close()

    def _connect(self) -> None:
        self.socket.connect(("127.0.0.1", self._port))
        if self._tls is not None:
            self._wrap(self._tls)

    def _wrap(self, tls: ssl.SSLContext) -> None:
        self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")

    async def start_tls(self, tls: ssl.SSLContext) -> None:
        await asyncio.to_thread(self._wrap, tls)

    async def send(self, data: bytes) -> None:
        await asyncio.to_thread(self.socket.sendall, data)

    async def segment(self, octets: int = 1_000_000) -> bytes:
        """What one recv gives."""
        return await asyncio.to_thread(self.socket.recv, octets)

    async def line(self) -> bytes:
        return await self.until(b"\r\n")

    async def until(self, mark: bytes) -> bytes:
        """All octets up to and with the mark; what is left at the end of the stream."""
        while mark not in self._unread:
            octets = await self.segment()
            if not octets:
                break
            self._unread += octets
        head, found, self._unread = self._unread.partition(mark)
        return head + found

    async def rest(self) -> bytes:
        """All octets to the end of the stream; then this end hangs up, too."""
        while octets := await self.segment():
            self._unread += octets
        with contextlib.suppress(OSError):
            self.shut()
        rest, self._unread = self._unread, b""
        return rest

    async def command(self, line: bytes) -> bytes:
        await self.send(line + b"\r\n")
        return await self.line()

    async def login(self) -> None:
        assert (await self.line()).startswith(b"+OK")
        await self.send(LOGIN)
        assert (await self.line()).startswith(b"+OK")
        assert (await self.line()).startswith(b"+OK")

    def shut(self) -> None:
        """No more will be sent; replies are still read."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
