"""The doors: sockets, limits, PROXY headers, TLS from the first octet. Each connection is served by a task."""

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from bridge.accounts.model import ClientAddress, IpNetwork
from bridge.server.proxy_header import ProxyHeader, ProxyHeaderError, parse_proxy_header, unmapped
from bridge.server.tls import TlsContexts
from bridge.server.wire import TLS_SHUTDOWN_TIMEOUT_S, Wire
from bridge.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_BACKLOG_COUNT = 1_024
_KEEPALIVE_IDLE_S = 60  # load balancers drop silent flows after 350 s, and POP3 allows 600
_KEEPALIVE_INTERVAL_S = 15
_KEEPALIVE_PROBE_COUNT = 4
_SHORTEST_BACKOFF_S = 0.005
_LONGEST_BACKOFF_S = 1.0
_TOO_MANY = b"-ERR [SYS/TEMP] too many connections, try again soon\r\n"


class PortInUse(Exception):
    """Somebody else listens there."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"port {port} on {host} is in use by another program")
        self.host = host
        self.port = port


@dataclass(frozen=True, slots=True)
class Doors:
    host: str
    pop3_port: int  # 0: any free one
    pop3s_port: int | None  # None: no POP3S
    trusted_networks: Sequence[IpNetwork] = ()  # whose PROXY header is required and believed
    max_connections: int = 10_000
    max_connections_per_network: int = 200
    proxy_header_timeout_s: float = 10.0
    tls_handshake_timeout_s: float = 10.0
    shares_ports: bool = False  # SO_REUSEPORT: the kernel spreads connections over several processes of ours


class Listener:
    """Call `start`, later `stop_accepting`, and `close` at the end.

    `serve(wire, client, tls_active)` runs a session and closes the wire; what it leaves open is cut.
    `tls` is wanted for POP3S.
    """

    def __init__(
        self,
        doors: Doors,
        serve: Callable[[Wire, ClientAddress, bool], Awaitable[object]],
        *,
        tls: TlsContexts | None,
        metrics: Metrics,
    ) -> None:
        if doors.pop3s_port is not None and tls is None:
            raise ValueError("POP3S needs a certificate")
        self._doors = doors
        self._serve = serve
        self._tls = tls
        self._metrics = metrics
        self._listening: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._count_by_network: Counter[IpNetwork] = Counter()

    @property
    def ports(self) -> tuple[int, ...]:
        """The bound ports: POP3, then POP3S if it is open."""
        return tuple(listening.getsockname()[1] for listening in self._listening)

    async def start(self) -> None:
        """Bind and accept. Raises PortInUse, and OSError when the address is not ours or the port not allowed."""
        try:
            self._listening.append(
                _listen(self._doors.host, self._doors.pop3_port, shares_ports=self._doors.shares_ports)
            )
            if self._doors.pop3s_port is not None:
                self._listening.append(
                    _listen(self._doors.host, self._doors.pop3s_port, shares_ports=self._doors.shares_ports)
                )
        except (PortInUse, OSError):
            for listening in self._listening:
                listening.close()
            raise
        for listening, tls_active in zip(self._listening, (False, True), strict=False):
            self._accepting.append(asyncio.create_task(self._accept(listening, tls_active), name="accept"))

    def stop_accepting(self) -> None:
        """Close the doors; connections that are in go on."""
        for task in self._accepting:
            task.cancel()

    async def close(self) -> None:
        """Close the doors and cut what is still connected. Drain before."""
        self.stop_accepting()
        tasks = [*self._accepting, *self._connections]
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for listening in self._listening:
            listening.close()  # of a task that was cancelled before it began

    async def _accept(self, listening: socket.socket, tls_active: bool) -> None:
        loop = asyncio.get_running_loop()
        backoff_s = _SHORTEST_BACKOFF_S
        with listening:
            while True:
                try:
                    connection, peer = await loop.sock_accept(listening)
                except OSError as error:  # no descriptors left, most likely: asking again at once would only burn time
                    log.warning("cannot accept", extra={"error": str(error)})
                    await asyncio.sleep(backoff_s)
                    backoff_s = min(backoff_s * 2, _LONGEST_BACKOFF_S)
                    continue
                backoff_s = _SHORTEST_BACKOFF_S
                if len(self._connections) >= self._doors.max_connections:
                    self._refuse(connection, tls_active, "over-limit")
                    continue
                task = asyncio.create_task(self._handle(connection, peer, tls_active), name="connection")
                self._connections.add(task)
                task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._connections.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._metrics.unexpected_errors.labels("listener").inc()
            log.error("a connection ended by a fault", exc_info=error)

    async def _handle(self, connection: socket.socket, peer: tuple[str, int], tls_active: bool) -> None:
        with contextlib.ExitStack() as stack:
            handed_over = stack.enter_context(contextlib.ExitStack())
            handed_over.enter_context(connection)
            client = ClientAddress(unmapped(ip_address(peer[0])), peer[1])
            network: IpNetwork | None = client.network
            if any(client.address in trusted for trusted in self._doors.trusted_networks):
                header = await self._proxy_header(connection, client)
                if header is None:
                    return
                network = None  # the proxy's own checks are not counted
                if header.source is not None:
                    client, network = header.source, header.source.network
            if network is not None:
                if self._count_by_network[network] >= self._doors.max_connections_per_network:
                    log.info("too many connections from one network", extra={"client": str(client.address)})
                    self._refuse(connection, tls_active, "over-network-limit")
                    return
                self._count_by_network[network] += 1
                stack.callback(self._uncount, network)
            _set_options(connection)
            handed_over.pop_all()  # from here on its transport closes it
            await self._connect_and_serve(connection, client, tls_active)

    def _uncount(self, network: IpNetwork) -> None:
        self._count_by_network[network] -= 1
        if not self._count_by_network[network]:
            del self._count_by_network[network]

    async def _connect_and_serve(self, connection: socket.socket, client: ClientAddress, tls_active: bool) -> None:
        loop = asyncio.get_running_loop()
        context = self._tls.current() if tls_active and self._tls is not None else None
        wire = Wire()
        try:
            await loop.connect_accepted_socket(
                lambda: wire,
                connection,
                ssl=context,
                ssl_handshake_timeout=None if context is None else self._doors.tls_handshake_timeout_s,
                ssl_shutdown_timeout=None if context is None else TLS_SHUTDOWN_TIMEOUT_S,
            )
        except OSError as error:  # ssl.SSLError and ConnectionError too: reset, no TLS, too slow
            if tls_active:
                self._metrics.tls_handshake_failures.inc()
            reason = error.reason if isinstance(error, ssl.SSLError) else str(error)
            log.info("connection failed", extra={"client": str(client.address), "reason": reason})
            self._metrics.connections.labels("failed").inc()
            return
        if wire.tls_version is not None:
            self._metrics.tls_handshakes.labels(wire.tls_version).inc()
        self._metrics.connections.labels("accepted").inc()
        try:
            await self._serve(wire, client, tls_active)
        finally:
            wire.abort()  # nothing is left to do where the session closed it

    async def _proxy_header(self, connection: socket.socket, proxy: ClientAddress) -> ProxyHeader | None:
        """Read the header and not one octet behind it: that may be the TLS ClientHello, and is for the TLS layer."""
        loop = asyncio.get_running_loop()
        data = b""
        try:
            async with asyncio.timeout(self._doors.proxy_header_timeout_s):
                while not isinstance(answer := parse_proxy_header(data), ProxyHeader):
                    octets = await loop.sock_recv(connection, answer.count)
                    if not octets:
                        if data:
                            raise ProxyHeaderError("the connection ended within the PROXY header")
                        self._metrics.connections.labels("probe").inc()  # a load balancer that looks whether we live
                        return None
                    data += octets
            return answer
        except (ProxyHeaderError, OSError) as error:  # TimeoutError is an OSError
            log.info("no PROXY header", extra={"proxy": str(proxy.address), "error": str(error) or "too slow"})
            self._metrics.connections.labels("bad-proxy-header").inc()
            return None

    def _refuse(self, connection: socket.socket, tls_active: bool, outcome: str) -> None:
        self._metrics.connections.labels(outcome).inc()
        with contextlib.suppress(OSError), connection:
            connection.setblocking(False)
            if not tls_active:
                connection.send(_TOO_MANY)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(65_536)  # closing with unread octets would reset, and the reply could be lost


def _listen(host: str, port: int, *, shares_ports: bool) -> socket.socket:
    is_ipv6 = ":" in host
    try:
        listening = socket.create_server(
            (host, port),
            family=socket.AF_INET6 if is_ipv6 else socket.AF_INET,
            backlog=_BACKLOG_COUNT,
            reuse_port=shares_ports,
            dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(host, port) from None
        raise
    listening.setblocking(False)
    return listening


def _set_options(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, _TCP_KEEPIDLE, _KEEPALIVE_IDLE_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBE_COUNT)


_TCP_KEEPIDLE: int = getattr(socket, "TCP_KEEPIDLE", 0x10)  # 0x10: its name on macOS is TCP_KEEPALIVE
