"""The driver of one session: what the pure state machine asks for is carried out here, each wait with its limit."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from bridge.accounts.login import LoginService
from bridge.accounts.model import ClientAddress, Identity, RefusalReason
from bridge.accounts.ports import AccountsUnavailable, LoginRefused
from bridge.maildrop.errors import (
    LeaseLost,
    LoginTooSoon,
    MaildropBeingPrepared,
    MaildropError,
    MaildropInUse,
    NoSuchMaildrop,
    ObjectChanged,
    ObjectGone,
    ObjectUnreadable,
    StoreUnavailable,
)
from bridge.maildrop.opening import MaildropService, OpenMaildrop
from bridge.maildrop.reading import MessageReader
from bridge.pop3.body import BodyEncoder
from bridge.pop3.events import (
    DrainNeeded,
    EndReason,
    LastRequested,
    LoginRefusal,
    LoginRequested,
    MessageRefusal,
    MessageRequested,
    NeedData,
    SessionEnded,
    TlsRequested,
    UpdateRefusal,
    UpdateRequested,
)
from bridge.pop3.profile import SessionProfile
from bridge.pop3.session import Session, SessionState
from bridge.sasl.credentials import Credentials
from bridge.server.drain import Drain
from bridge.server.tls import TlsContexts
from bridge.server.wire import ConnectionLost, Interrupted, TlsFailed, Wire, WriteStalled
from bridge.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_LOGIN_REFUSALS = {
    RefusalReason.BAD_CREDENTIALS: LoginRefusal.BAD_CREDENTIALS,
    RefusalReason.SUSPENDED: LoginRefusal.SUSPENDED,
    RefusalReason.THROTTLED: LoginRefusal.THROTTLED,
    RefusalReason.UNAVAILABLE: LoginRefusal.TEMPORARY,
}
_TLS_HELLO = b"\x16\x03"  # how a handshake begins (RFC 8446 section 5.1)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    login_timeout_s: float = 60.0  # for the whole AUTHORIZATION state
    idle_timeout_s: float = 600.0  # between commands; time in the server or moving octets does not count
    write_timeout_s: float = 60.0  # without the client taking a single octet
    tls_handshake_timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class ConnectionRooms:
    """What a session works with; the same for all sessions of a process."""

    profile: Callable[[ClientAddress], SessionProfile]
    logins: LoginService
    maildrops: MaildropService
    messages: MessageReader
    tls: TlsContexts | None
    drain: Drain
    metrics: Metrics
    limits: ConnectionLimits


async def serve_connection(wire: Wire, client: ClientAddress, tls_active: bool, rooms: ConnectionRooms) -> EndReason:
    """Run one session from greeting to end. Whatever happens, the wire is closed and the lease given back."""
    return await _Connection(wire, client, tls_active, rooms).serve()


class _MessageCut(Exception):
    """A message that has begun cannot be sent whole."""


class _WrongLength(_MessageCut):
    """What came is not what was announced: the index is wrong."""


class _Connection:
    def __init__(self, wire: Wire, client: ClientAddress, tls_active: bool, rooms: ConnectionRooms) -> None:
        self._wire = wire
        self._client = client
        self._rooms = rooms
        self._limits = rooms.limits
        self._metrics = rooms.metrics
        self._session = Session(rooms.profile(client), tls_active=tls_active)
        self._loop = asyncio.get_running_loop()
        self._began_at = self._loop.time()
        self._login_deadline = self._began_at + self._limits.login_timeout_s
        self._silent_since = self._began_at
        self._connection_id = secrets.token_hex(6)
        self._stack = contextlib.AsyncExitStack()  # holds the maildrop
        self._maildrop: OpenMaildrop | None = None
        self._identity: Identity | None = None
        self._has_received = False
        self._in_message = False
        self._is_cut = False
        self._tls_version = wire.tls_version
        self._retrieved_count = self._top_count = self._removed_count = self._octets = 0

    # For the drain

    def interrupt(self) -> None:
        self._wire.interrupt()

    def cut(self) -> None:
        self._is_cut = True
        self._wire.abort()

    # From greeting to end

    async def serve(self) -> EndReason:
        reason = EndReason.DRAINED  # what stays when the process ends and cancels this
        with self._rooms.drain.joined(self), self._metrics.open_sessions.track_inprogress():
            try:
                reason = await self._converse_and_release()
                # The last words come behind the lease: who reads them can log in again at once.
                with contextlib.suppress(ConnectionLost, WriteStalled):
                    await self._wire.write(self._session.data_to_send(), timeout_s=self._limits.write_timeout_s)
                await self._wire.close(timeout_s=self._limits.write_timeout_s)
            finally:
                self._wire.abort()
                self._report(reason)
        return reason

    async def _converse_and_release(self) -> EndReason:
        try:
            async with self._stack:
                return await self._converse()
        except ConnectionLost:
            reason = EndReason.DRAINED if self._is_cut else EndReason.CONNECTION_LOST
        except WriteStalled:
            reason = EndReason.WRITE_STALLED
        except TlsFailed:
            reason = EndReason.TLS_FAILED
        except _MessageCut as cut:
            reason = EndReason.MESSAGE_CUT
            log.warning("a message was cut", extra={**self._who(), "error": str(cut)})
        except Exception:
            reason = EndReason.INTERNAL_ERROR
            self._metrics.unexpected_errors.labels("session").inc()
            log.exception("a session ended by a fault", extra=self._who())
        self._session.end(reason)
        if reason is not EndReason.INTERNAL_ERROR or self._in_message:
            self._wire.abort()
        return reason

    async def _converse(self) -> EndReason:
        while True:
            self._end_if_over()
            match self._session.next_event():
                case SessionEnded(reason):
                    return reason
                case NeedData():
                    await self._send()
                    await self._receive()
                case DrainNeeded():
                    await self._send()
                case TlsRequested():
                    await self._start_tls()
                case LoginRequested(credentials):
                    await self._send()
                    with self._metrics.command_duration.labels("PASS").time():
                        await self._login(credentials)
                case MessageRequested() as request:
                    await self._send()
                    with self._metrics.command_duration.labels("RETR" if request.body_lines is None else "TOP").time():
                        await self._send_message(self._open_maildrop, request)
                case LastRequested():
                    await self._send()
                    await self._find_last(self._open_maildrop)
                case UpdateRequested(deleted_numbers):
                    with self._metrics.command_duration.labels("QUIT").time():
                        await self._update(self._open_maildrop, deleted_numbers)

    def _end_if_over(self) -> None:
        if self._maildrop is not None:
            if self._maildrop.lost.is_set():
                self._session.end(EndReason.LEASE_LOST)
        elif self._loop.time() >= self._login_deadline:
            self._session.end(EndReason.LOGIN_TOO_SLOW)

    # Octets

    async def _send(self) -> None:
        """All replies so far, in one write."""
        self._count_commands()
        data = self._session.data_to_send()
        if not data:
            return
        is_logging_in = self._session.state is SessionState.AUTHORIZATION
        try:
            # A client that reads slowly does not get more time to log in.
            async with asyncio.timeout_at(self._login_deadline) if is_logging_in else contextlib.nullcontext():
                await self._wire.write(data, timeout_s=self._limits.write_timeout_s)
        except TimeoutError:
            raise WriteStalled from None
        except ConnectionLost:
            # Said goodbye in TLS behind its last command: it cannot hear these replies, but what it asked is done. A
            # message that it does not get still ends the session, and then nothing is removed.
            if not self._wire.has_ended:
                raise
        self._silent_since = self._loop.time()

    async def _receive(self) -> None:
        """Feed what comes to the session, or end it."""
        unsent = self._wire.unsent()
        timeout_s, reason = self._patience()
        try:
            data = await self._wire.read(timeout_s=timeout_s)
        except Interrupted:
            return  # the lease is lost, or the process drains: the loop asks again
        except TimeoutError:
            if reason is not EndReason.IDLE or self._wire.unsent() == unsent:
                self._session.end(reason)
            return  # what was sent is still on its way to a slow client: not idle yet
        self._silent_since = self._loop.time()
        if self._maildrop is not None:
            self._maildrop.note_activity()
        if not data:
            self._session.receive_eof()
        elif not self._has_received and self._tls_version is None and data.startswith(_TLS_HELLO):
            self._session.end(EndReason.TLS_FAILED)  # a client that is set up for POP3S on the port for POP3
        else:
            self._session.receive_data(data)
        self._has_received = True

    def _patience(self) -> tuple[float, EndReason]:
        """How long to wait for the client now, and what it means when it stays silent."""
        now = self._loop.time()
        drain_idle_s = self._rooms.drain.idle_limit_s
        if self._session.state is SessionState.AUTHORIZATION:
            if drain_idle_s is not None:
                return 0.0, EndReason.DRAINED
            return self._login_deadline - now, EndReason.LOGIN_TOO_SLOW
        if drain_idle_s is not None:
            return max(self._silent_since + drain_idle_s - now, 0.0), EndReason.DRAINED
        return self._limits.idle_timeout_s, EndReason.IDLE

    async def _start_tls(self) -> None:
        if self._rooms.tls is None:
            raise TlsFailed("STLS was offered without a certificate")
        self._count_commands()
        try:
            in_clear = await self._wire.start_tls(
                self._rooms.tls.current(),
                reply=self._session.data_to_send(),
                write_timeout_s=self._limits.write_timeout_s,
                handshake_timeout_s=self._limits.tls_handshake_timeout_s,
            )
        except TlsFailed:
            self._metrics.tls_handshake_failures.inc()
            raise
        if in_clear:
            self._session.receive_data(in_clear)  # ends it
            return
        self._tls_version = self._wire.tls_version
        self._metrics.tls_handshakes.labels(str(self._tls_version)).inc()
        self._session.tls_established()

    # Requests

    @property
    def _open_maildrop(self) -> OpenMaildrop:
        if self._maildrop is None:
            raise RuntimeError("no maildrop is open")
        return self._maildrop

    async def _login(self, credentials: Credentials) -> None:
        try:
            async with self._wire.cancel_on_loss():
                identity = await self._rooms.logins.login(credentials, self._client)
                maildrop = await self._stack.enter_async_context(
                    self._rooms.maildrops.open(
                        identity.maildrop_id, identity.view_id, login_delay_s=identity.login_delay_s
                    )
                )
        except (LoginRefused, AccountsUnavailable, MaildropError) as error:
            refusal = _login_refusal(error)
            self._metrics.logins.labels(refusal.name.lower()).inc()
            log.info("login refused", extra={**self._who(), "refusal": refusal.name.lower(), "error": str(error)})
            self._session.refuse_login(refusal)
            return
        self._identity, self._maildrop = identity, maildrop
        self._metrics.logins.labels("ok").inc()
        watch = asyncio.create_task(self._interrupt_when_lost(maildrop), name="lease watch")
        self._stack.push_async_callback(_stop, watch)
        self._session.accept_login(maildrop.snapshot)

    async def _interrupt_when_lost(self, maildrop: OpenMaildrop) -> None:
        await maildrop.lost.wait()
        self._wire.interrupt()

    async def _send_message(self, maildrop: OpenMaildrop, request: MessageRequested) -> None:
        try:
            async with self._wire.cancel_on_loss():
                try:
                    await self._open_and_send(maildrop, request)
                except (ObjectGone, ObjectChanged):
                    # The object may have been rewritten with the same text, and indexed again since this session began.
                    if self._in_message or not await maildrop.has_moved(request.number):
                        raise
                    await self._open_and_send(maildrop, request)
        except (ObjectGone, ObjectChanged, ObjectUnreadable, StoreUnavailable) as error:
            if self._in_message:
                raise _MessageCut(f"{type(error).__name__}: {error}") from error
            log.warning(
                "a message could not be read", extra={**self._who(), "error": f"{type(error).__name__}: {error}"}
            )
            self._session.refuse_message(_message_refusal(error))

    async def _open_and_send(self, maildrop: OpenMaildrop, request: MessageRequested) -> None:
        message = await maildrop.message(request.number)
        async with self._rooms.messages.open(message, body_lines=request.body_lines) as chunks:
            await self._send_body(maildrop, request, chunks)

    async def _send_body(self, maildrop: OpenMaildrop, request: MessageRequested, chunks: AsyncIterator[bytes]) -> None:
        announced = maildrop.snapshot.octets(request.number)
        encoder = self._session.begin_message()
        self._in_message = True
        try:
            await self._send_encoded(maildrop, encoder, chunks, announced)
        except _WrongLength:
            self._metrics.octets_mismatches.inc()
            await maildrop.distrust(request.number)
            raise
        finally:
            self._octets += encoder.canonical_octets
            self._metrics.message_octets_sent.inc(encoder.canonical_octets)
        self._session.end_message()
        self._in_message = False
        self._silent_since = self._loop.time()
        if request.body_lines is None:
            maildrop.note_retrieved(request.number)
            self._retrieved_count += 1
            self._metrics.messages_retrieved.inc()
        else:
            self._top_count += 1

    async def _send_encoded(
        self, maildrop: OpenMaildrop, encoder: BodyEncoder, chunks: AsyncIterator[bytes], announced: int
    ) -> None:
        """One piece is always held back: status line and first octets, last octets and end mark leave in one write."""
        held = self._session.data_to_send()
        is_first = True
        async for chunk in chunks:
            encoded = encoder.encode(chunk)
            if encoder.canonical_octets > announced:
                break
            if is_first:
                held += encoded
                is_first = False
            else:
                await self._wire.write(held, timeout_s=self._limits.write_timeout_s)
                maildrop.note_activity()
                held = encoded
            if encoder.is_satisfied:
                break
        is_whole = encoder.is_satisfied or encoder.canonical_octets == announced
        if not is_whole or encoder.canonical_octets > announced:
            raise _WrongLength(f"{announced} octets were announced, {encoder.canonical_octets} came")
        await self._wire.write(held + encoder.finish(), timeout_s=self._limits.write_timeout_s)

    async def _find_last(self, maildrop: OpenMaildrop) -> None:
        try:
            async with self._wire.cancel_on_loss():
                number = await maildrop.last_seen_number()
        except StoreUnavailable:
            self._session.refuse_message(MessageRefusal.TEMPORARY)
        else:
            self._session.provide_last(number)

    async def _update(self, maildrop: OpenMaildrop, numbers: tuple[int, ...]) -> None:
        """QUIT was read whole: it is carried out, though the client may not be there any more to hear of it."""
        with contextlib.suppress(ConnectionLost, WriteStalled):
            await self._send()
        refusal: UpdateRefusal | None = None
        try:
            if numbers:
                outcome = await maildrop.remove(numbers)
                self._removed_count = outcome.removed_count
                self._metrics.messages_removed.inc(outcome.removed_count)
                refusal = UpdateRefusal.PERMANENT if outcome.refused_count else None
        except LeaseLost:
            refusal = UpdateRefusal.LEASE_LOST
        except StoreUnavailable as error:
            log.warning("messages could not be removed", extra={**self._who(), "error": str(error)})
            refusal = UpdateRefusal.TEMPORARY
        await maildrop.release(by_quit=True)
        if refusal is None:
            self._session.complete_update()
        else:
            self._session.fail_update(refusal)

    # Telling

    def _who(self) -> dict[str, object]:
        return {
            "connection_id": self._connection_id,
            "client": str(self._client.address),
            "account_id": None if self._identity is None else self._identity.account_id,
        }

    def _count_commands(self) -> None:
        counts = self._session.command_counts
        for (verb, ok), count in counts.items():
            self._metrics.count_command(verb, count, ok=ok)
        counts.clear()

    def _report(self, reason: EndReason) -> None:
        self._count_commands()
        duration_s = self._loop.time() - self._began_at
        self._metrics.session_ends.labels(reason.value).inc()
        self._metrics.session_duration.observe(duration_s)
        log.info(
            "session ended",
            extra={
                **self._who(),
                "reason": reason.value,
                "retrieved_count": self._retrieved_count,
                "top_count": self._top_count,
                "removed_count": self._removed_count,
                "octets": self._octets,
                "duration_s": round(duration_s, 3),
                "tls": self._tls_version,
            },
        )


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def _login_refusal(error: LoginRefused | AccountsUnavailable | MaildropError) -> LoginRefusal:
    match error:
        case LoginRefused(reason=reason):
            return _LOGIN_REFUSALS[reason]
        case MaildropInUse():
            return LoginRefusal.IN_USE
        case LoginTooSoon():
            return LoginRefusal.LOGIN_DELAY
        case MaildropBeingPrepared():
            return LoginRefusal.BEING_PREPARED
        case AccountsUnavailable() | StoreUnavailable() | LeaseLost():
            return LoginRefusal.TEMPORARY
        case NoSuchMaildrop() | ObjectUnreadable():
            return LoginRefusal.PERMANENT
    raise error


def _message_refusal(error: MaildropError) -> MessageRefusal:
    match error:
        case ObjectGone():
            return MessageRefusal.GONE
        case ObjectChanged():
            return MessageRefusal.CHANGED
        case ObjectUnreadable():
            return MessageRefusal.PERMANENT
    return MessageRefusal.TEMPORARY
