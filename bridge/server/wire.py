"""The octets of one connection: reading, writing and TLS with deadlines, and nothing that a command leaves behind."""

import asyncio
import contextlib
import fcntl
import os
import socket
import ssl
import struct
import termios
from collections.abc import Callable
from types import TracebackType
from typing import cast

_MAX_UNREAD_OCTETS = 65_536  # then the client has to wait until the driver reads
_MAX_UNSENT_OCTETS = 65_536  # then the driver has to wait until the client reads
_STALL_CHECKS = 4  # looks at a waiting write within its time limit
_LONGEST_CHECK_S = 1.0  # between two of them
_LINGER_S = 2.0  # how long a closed connection waits for the client to hang up
# The loop's own limit for a goodbye in TLS would drop what a slow client has not taken yet: `close` has the limits.
TLS_SHUTDOWN_TIMEOUT_S = 86_400.0
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class WireError(Exception):
    """Root of what can go wrong with a connection."""


class ConnectionLost(WireError):
    """The client is gone: a reset, or a write to a closed connection."""


class WriteStalled(WireError):
    """The client took no octet within the time limit."""


class TlsFailed(WireError):
    """The handshake failed or took too long."""


class Interrupted(WireError):
    """`interrupt` was called while nothing came from the client."""


class Wire(asyncio.Protocol):
    """One connection, used by one task. Construct it in the running loop, as the protocol of its transport.

    Resets show as ConnectionLost at the next call; an end of stream shows as b"" behind all octets that came before.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        # Kept beside the transport, which in TLS forgets them when it is closed.
        self._socket: socket.socket | None = None
        self._tls: ssl.SSLObject | None = None
        self._unread: list[bytes] = []
        self._unread_octets = 0
        self._has_eof = False
        self._is_lost = False  # no octet will come or go any more
        self._is_reset = False
        self._is_discarding = False
        self._is_interrupted = False
        self._reading_paused = False
        self._writing_paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._deadline: float | None = None
        self._has_timed_out = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._guard: _CancelOnLoss | None = None

    # For the driver

    @property
    def tls_version(self) -> str | None:
        """As in `TLSv1.3`; None in clear."""
        return None if self._tls is None else str(self._tls.version())

    @property
    def has_ended(self) -> bool:
        """The client ended the stream in order. In TLS that is the end of what it can be told, too."""
        return (self._has_eof or self._is_lost) and not self._is_reset

    def unsent(self) -> tuple[int, int]:
        """Octets that wait here and in the kernel: when they change, the client has taken some.

        The loop alone would not tell: to it a socket is writable again only when much of its buffer is free, and a slow
        client would look dead for minutes.
        """
        if self._transport is None or self._socket is None or self._is_lost:
            return 0, 0
        try:
            answer = fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
            in_kernel: int = struct.unpack("i", answer)[0]
        except OSError:  # closed, or a system that does not tell
            in_kernel = 0
        return self._transport.get_write_buffer_size(), in_kernel

    async def read(self, *, timeout_s: float) -> bytes:
        """What has come, at least one octet; b"" at the end of the stream.

        Raises ConnectionLost, Interrupted, TimeoutError.
        """
        deadline = self._loop.time() + timeout_s
        while True:
            if self._is_reset:
                raise ConnectionLost("the connection was reset")
            if self._unread:
                data = self._take_unread()
                self._resume_reading()
                return data
            if self._has_eof or self._is_lost:
                return b""
            if self._is_interrupted:
                self._is_interrupted = False
                raise Interrupted
            if not await self._wait(deadline):
                raise TimeoutError("the client was silent")

    async def write(self, data: bytes, *, timeout_s: float) -> None:
        """Hand octets to the client; returns once few enough of them wait here.

        Raises ConnectionLost, and WriteStalled when the client takes none of them for `timeout_s`.
        """
        transport = self._open_transport()
        if data:
            transport.write(data)
        if self._writing_paused:
            await self._wait_until(lambda: not self._writing_paused, timeout_s)
            self._open_transport()

    async def start_tls(
        self, context: ssl.SSLContext, *, reply: bytes, write_timeout_s: float, handshake_timeout_s: float
    ) -> bytes:
        """Write the positive reply in clear, then shake hands (RFC 2595 section 4). b"": TLS runs.

        Octets that the client sent in clear without waiting for the reply are returned, and nothing was done.
        Raises TlsFailed, ConnectionLost, WriteStalled.
        """
        transport = self._open_transport()
        transport.pause_reading()  # what comes behind the reply is for TLS
        self._reading_paused = True
        if self._unread:
            data = self._take_unread()
            self._resume_reading()
            return data
        await self.write(reply, timeout_s=write_timeout_s)
        try:
            upgraded = await self._loop.start_tls(
                transport,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=handshake_timeout_s,
                ssl_shutdown_timeout=TLS_SHUTDOWN_TIMEOUT_S,
            )
        except OSError as error:  # ssl.SSLError, ConnectionError and TimeoutError are OSErrors
            self.abort()
            raise TlsFailed(str(error)) from error
        if upgraded is None:  # the client left within the handshake
            raise ConnectionLost("the connection was closed")
        self._use(upgraded)
        return b""

    async def close(self, *, timeout_s: float) -> None:
        """Send what waits, say goodbye, and let go of the connection, after `timeout_s` without one octet taken by
        force. Never raises.
        """
        transport = self._transport
        if transport is None or self._is_lost:
            return
        self._is_discarding = True
        self._unread.clear()
        self._resume_reading()
        try:
            with contextlib.suppress(WireError, OSError):
                if self._tls is None and not self._has_eof:
                    # Closing with unread octets would reset the connection, and the last reply could be lost with it.
                    transport.write_eof()
                    await self._wait_until(lambda: transport.get_write_buffer_size() == 0 or self._has_eof, timeout_s)
                    await self._wait_until(lambda: self._has_eof, _LINGER_S)
                if not transport.is_closing():  # in TLS a second close would break the transport
                    transport.close()
                await self._wait_until(lambda: self._is_lost or self.unsent() == (0, 0), timeout_s)
                await self._wait_until(lambda: self._is_lost, _LINGER_S)
        finally:
            if not self._is_lost:
                transport.abort()  # what the kernel holds still goes out

    def abort(self) -> None:
        """Reset the connection; nothing more is sent."""
        if self._transport is None or self._socket is None or self._is_lost:
            return
        # Without this the kernel would still deliver what it holds and end the stream in order.
        with (
            contextlib.suppress(OSError),  # closed already
            socket.socket(fileno=os.dup(self._socket.fileno())) as duplicate,
        ):
            duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()
        self._lose(is_reset=True)

    def cancel_on_loss(self) -> "_CancelOnLoss":
        """An async context in which the work is cancelled when the connection is reset; raises ConnectionLost then."""
        return _CancelOnLoss(self)

    def interrupt(self) -> None:
        """Make the read that waits, or the next one that finds nothing, raise Interrupted."""
        self._is_interrupted = True
        self._wake()

    # For the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._use(cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        if self._is_discarding:
            return
        self._unread.append(data)
        self._unread_octets += len(data)
        if self._unread_octets >= _MAX_UNREAD_OCTETS and not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self._has_eof = True
        self._wake()
        # In clear the other direction stays open: what was asked is answered. TLS closes both.
        return self._tls is None

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(is_reset=exc is not None)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._wake()

    # Helpers

    def _use(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._socket = transport.get_extra_info("socket")
        self._tls = transport.get_extra_info("ssl_object")
        self._reading_paused = False
        self._writing_paused = False
        transport.set_write_buffer_limits(high=_MAX_UNSENT_OCTETS)

    def _open_transport(self) -> asyncio.Transport:
        if self._transport is None or self._is_lost or self._transport.is_closing():
            raise ConnectionLost("the connection is closed")
        return self._transport

    def _take_unread(self) -> bytes:
        data = self._unread[0] if len(self._unread) == 1 else b"".join(self._unread)
        self._unread.clear()
        self._unread_octets = 0
        return data

    def _resume_reading(self) -> None:
        if self._reading_paused and self._transport is not None and not self._is_lost:
            self._reading_paused = False
            self._transport.resume_reading()

    def _lose(self, *, is_reset: bool) -> None:
        if self._is_lost:
            return
        self._is_lost = True
        self._is_reset = is_reset
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake()
        if is_reset and self._guard is not None:
            self._guard.cancel()

    # Waiting: one future while something waits, and one timer that is only moved when it has to be earlier

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self, deadline: float) -> bool:
        """Until something happens; False when the deadline has passed instead."""
        self._waiter = self._loop.create_future()
        self._deadline = deadline
        self._has_timed_out = False
        self._arm()
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._deadline = None
        return not self._has_timed_out

    def _arm(self) -> None:
        if self._deadline is None or (self._timer is not None and self._timer_at <= self._deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._deadline
        self._timer = self._loop.call_at(self._timer_at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._loop.time() < self._deadline:
            self._arm()
        else:
            self._has_timed_out = True
            self._wake()

    async def _wait_until(self, is_reached: Callable[[], bool], timeout_s: float) -> None:
        """Raises ConnectionLost when the connection is lost first, WriteStalled when no octet moves for `timeout_s`."""
        unsent = self.unsent()
        stalled_at = self._loop.time() + timeout_s
        while not is_reached():
            if self._is_lost:
                raise ConnectionLost("the connection was lost")
            now = self._loop.time()
            if now >= stalled_at:
                raise WriteStalled
            await self._wait(min(stalled_at, now + min(timeout_s / _STALL_CHECKS, _LONGEST_CHECK_S)))
            if (unsent_now := self.unsent()) != unsent:
                unsent = unsent_now
                stalled_at = self._loop.time() + timeout_s


class _CancelOnLoss:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._task: asyncio.Task[object] | None = None
        self._cancelling_count = 0
        self._has_cancelled = False

    async def __aenter__(self) -> None:
        if self._wire._is_reset:
            raise ConnectionLost("the connection was reset")
        self._task = asyncio.current_task()
        self._cancelling_count = 0 if self._task is None else self._task.cancelling()
        self._wire._guard = self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wire._guard = None
        if not self._has_cancelled or self._task is None:
            return
        # As asyncio.timeout does: a cancellation from elsewhere that came as well is not swallowed.
        if self._task.uncancel() <= self._cancelling_count and kind is asyncio.CancelledError:
            raise ConnectionLost("the connection was reset") from error

    def cancel(self) -> None:
        if self._task is not None:
            self._has_cancelled = True
            self._task.cancel()
