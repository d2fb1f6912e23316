"""One POP3 session as a state machine (RFC 1939, 2449, 2595, 3206, 5034). All that changes its state is here.

The rules:

- The driver gives octets (`receive_data`, `receive_eof`), asks for events (`next_event`) until one needs it, sends what
  `data_to_send` holds before it acts on any event, and answers each request with the method named in its docstring.
- One request is pending at a time; what is pipelined behind it waits in the buffer. So replies come in order.
- A line that the client did not end is never run. Nothing is removed but by QUIT in TRANSACTION.
"""

import binascii
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from enum import Enum

from bridge.pop3.body import BodyEncoder
from bridge.pop3.capabilities import capability_lines, usable_mechanisms
from bridge.pop3.commands import LineBuffer, Oversize, parse_number, split_command, split_words
from bridge.pop3.events import (
    DrainNeeded,
    EndReason,
    Event,
    LastRequested,
    LoginRefusal,
    LoginRequested,
    MessageRefusal,
    MessageRequested,
    NeedData,
    Request,
    SessionEnded,
    TlsRequested,
    UpdateRefusal,
    UpdateRequested,
)
from bridge.pop3.listing import DropListing, Listing
from bridge.pop3.profile import SessionProfile
from bridge.sasl.credentials import Credentials, PasswordCredentials
from bridge.sasl.exchange import Challenge, Exchange, Failed, Failure, Mechanism, Proven, Step
from bridge.sasl.simple import start_exchange

_NEED_DATA = NeedData()
_DRAIN_NEEDED = DrainNeeded()
_MECHANISMS = {mechanism.encode(): mechanism for mechanism in Mechanism}
# An autologout for idleness sends nothing (RFC 1939 section 3); behind a broken connection nobody listens.
_LAST_WORDS = {
    EndReason.DRAINED: "[SYS/TEMP] this server is being restarted, log in again",
    EndReason.LEASE_LOST: "[SYS/TEMP] the maildrop went to another session, log in again",
    EndReason.INTERNAL_ERROR: "[SYS/TEMP] something went wrong here, log in again",
}


class LocalProtocolError(Exception):
    """The driver called what was not asked for."""


class SessionState(Enum):
    AUTHORIZATION = "authorization"
    TRANSACTION = "transaction"
    UPDATE = "update"
    ENDED = "ended"


class Session:
    def __init__(self, profile: SessionProfile, *, tls_active: bool) -> None:
        self.state = SessionState.AUTHORIZATION
        self.command_counts: Counter[tuple[str, bool]] = Counter()  # (verb or "other", whether it went well)
        self._profile = profile
        self._tls_active = tls_active
        self._input = LineBuffer()
        self._has_eof = False
        self._output: list[bytes] = []
        self._unsent_octets = 0
        self._pending: Request | None = None
        self._message_begun = False
        self._lines: Iterator[bytes] | None = None  # of a listing that is being sent
        self._end_reason: EndReason | None = None
        self._verb = "other"
        self._bad_command_count = 0
        self._failed_login_count = 0
        self._login_name: str | None = None  # from USER; "" when it was no UTF-8
        self._exchange: Exchange | None = None
        self._drop: DropListing | None = None
        self._last_retrieved = 0  # the highest number, of this session
        self._send(b"+OK POP3 server ready\r\n")

    # Octets

    def receive_data(self, data: bytes) -> None:
        """Octets from the client, in whatever pieces. Give them only when `next_event` wanted some."""
        if data and isinstance(self._pending, TlsRequested):
            # Sent in clear behind STLS: by a client that did not wait, or by somebody in between (RFC 2595 section 4).
            self._pending = None
            self._finish(EndReason.CLEARTEXT_BEHIND_STLS)
        if self.state is not SessionState.ENDED:
            self._input.feed(data)

    def receive_eof(self) -> None:
        """The client sends no more. What it sent whole is still answered."""
        self._has_eof = True

    def data_to_send(self) -> bytes:
        """Take what is to be sent now."""
        data = b"".join(self._output)
        self._output.clear()
        self._unsent_octets = 0
        return data

    # Events

    def next_event(self) -> Event:
        """Run what is buffered until something needs the driver."""
        if self._pending is not None:
            raise LocalProtocolError(f"{type(self._pending).__name__} waits for its answer")
        return self._advance()

    def _advance(self) -> Event:
        while self._pending is None:
            if self._end_reason is not None:
                return SessionEnded(self._end_reason)
            if self._unsent_octets > self._profile.max_unsent_octets:
                return _DRAIN_NEEDED
            if self._lines is not None:
                self._send_lines(self._lines)
                continue
            line = self._next_line()
            if line is None:
                if not self._has_eof:
                    return _NEED_DATA
                self._finish(EndReason.CLIENT_CLOSED)
                continue
            self._run(line)
        return self._pending

    # Answers

    def tls_established(self) -> None:
        """TLS runs; all that was learnt before is forgotten (RFC 2595 section 4)."""
        self._answer(TlsRequested)
        self._tls_active = True
        self._login_name = None
        self._exchange = None

    def accept_login(self, listing: Listing) -> None:
        self._answer(LoginRequested)
        self.state = SessionState.TRANSACTION
        self._login_name = None
        self._drop = DropListing(listing)
        self._ok("maildrop locked and ready")

    def refuse_login(self, refusal: LoginRefusal) -> None:
        self._answer(LoginRequested)
        self._refuse_login(refusal)

    def begin_message(self) -> BodyEncoder:
        """The message can be had: its status line is queued."""
        request = self._pending
        if not isinstance(request, MessageRequested) or self._message_begun:
            raise LocalProtocolError("no message was asked for")
        self._message_begun = True
        if request.body_lines is None:
            self._ok(f"{self._listing.octets(request.number)} octets")
        else:
            self._ok("top of message follows")
        return BodyEncoder(request.body_lines)

    def end_message(self) -> None:
        """All of it, with the end mark, is on its way."""
        request = self._pending
        self._answer(MessageRequested)
        self._message_begun = False
        if isinstance(request, MessageRequested) and request.body_lines is None:
            self._last_retrieved = max(self._last_retrieved, request.number)

    def refuse_message(self, refusal: MessageRefusal) -> None:
        if self._message_begun:
            raise LocalProtocolError("the message has begun: cut the connection")
        self._answer(MessageRequested, LastRequested)
        self._error(refusal.value)

    def provide_last(self, earlier_number: int) -> None:
        """The highest message number retrieved in earlier sessions, 0 for none."""
        self._answer(LastRequested)
        self._ok(str(max(earlier_number, self._last_retrieved)))

    def complete_update(self) -> None:
        self._answer(UpdateRequested)
        self._ok("bye")
        self._finish(EndReason.QUIT)

    def fail_update(self, refusal: UpdateRefusal) -> None:
        self._answer(UpdateRequested)
        self._error(refusal.value)
        self._finish(EndReason.UPDATE_FAILED)

    def end(self, reason: EndReason) -> None:
        """End it from outside, without UPDATE. Where the client would take a line for a reply, it is told why."""
        if self.state is SessionState.ENDED:
            return
        would_be_a_reply = not (
            self._message_begun or self._lines is not None or isinstance(self._pending, TlsRequested)
        )
        self._pending = None
        if reason in _LAST_WORDS and would_be_a_reply:
            self._send(b"-ERR " + _LAST_WORDS[reason].encode() + b"\r\n")
        self._finish(reason)

    # Lines

    def _next_line(self) -> bytes | Oversize | None:
        is_auth = self._exchange is not None or (
            self.state is SessionState.AUTHORIZATION and self._input.begins_with(b"AUTH ")
        )
        return self._input.next_line(self._profile.max_auth_octets if is_auth else self._profile.max_command_octets)

    def _run(self, line: bytes | Oversize) -> None:
        if self._exchange is not None:
            self._verb = "AUTH"
            return self._continue_auth(self._exchange, line)
        if isinstance(line, Oversize):
            self._verb = "other"
            return self._bad_command("the line is too long")
        keyword, rest = split_command(line)
        command = _COMMANDS.get(keyword)
        if command is None:
            self._verb = "other"
            return self._bad_command("unknown command")
        self._verb = keyword.decode("ascii")
        states, run = command
        if self.state not in states:
            in_authorization = self.state is SessionState.AUTHORIZATION
            return self._bad_command("log in first" if in_authorization else "you are logged in already")
        self._bad_command_count = 0
        return run(self, rest)

    # AUTHORIZATION

    def _user(self, rest: bytes) -> None:
        if self._login_needs_tls():
            return self._refuse_without_tls()
        name = rest.strip(b" ")
        if not name:
            return self._error("USER wants a name")
        try:
            self._login_name = name.decode()
        except UnicodeDecodeError:
            self._login_name = ""
        return self._ok("send PASS")

    def _pass(self, rest: bytes) -> None:
        if self._login_needs_tls():
            return self._refuse_without_tls()
        if self._login_name is None:
            return self._error("send USER first")
        try:
            password = rest.decode()
        except UnicodeDecodeError:
            password = ""
        return self._ask_login(PasswordCredentials(self._login_name, password))

    def _ask_login(self, credentials: Credentials) -> None:
        """An empty password is never right, whatever a checker would say; nor is what is no UTF-8."""
        if not credentials.password or not credentials.login_name:
            return self._refuse_login(LoginRefusal.BAD_CREDENTIALS)
        self._pending = LoginRequested(credentials)

    def _refuse_login(self, refusal: LoginRefusal) -> None:
        if refusal is not LoginRefusal.BAD_CREDENTIALS:
            self._error(refusal.value)  # the name is kept: a second PASS may do
            return
        self._login_name = None
        self._failed_login_count += 1
        if self._failed_login_count < self._profile.max_failed_logins:
            self._error(refusal.value)
        else:
            self._error(f"{refusal.value}, too many failed logins")
            self._finish(EndReason.TOO_MANY_FAILED_LOGINS)

    def _auth(self, rest: bytes) -> None:
        """RFC 5034. Without an argument: the mechanisms, as some clients ask."""
        words = split_words(rest)
        usable = usable_mechanisms(self._profile, tls_active=self._tls_active)
        if not words:
            if not usable:
                return self._refuse_without_tls()
            self._ok("mechanisms follow")
            return self._send("".join(f"{mechanism}\r\n" for mechanism in usable).encode() + b".\r\n")
        mechanism = _MECHANISMS.get(words[0].upper())
        if mechanism not in self._profile.mechanisms:
            return self._error("unknown mechanism")
        if mechanism not in usable:
            return self._refuse_without_tls()
        if len(words) > 2:
            return self._error("AUTH wants a mechanism and at most one response")
        exchange = start_exchange(mechanism)
        if len(words) == 1:
            return self._step(exchange, exchange.begin(None))
        initial_response = b"" if words[1] == b"=" else _decoded(words[1])
        if initial_response is None:
            return self._error("that is no base64")
        return self._step(exchange, exchange.begin(initial_response))

    def _continue_auth(self, exchange: Exchange, line: bytes | Oversize) -> None:
        self._exchange = None
        if isinstance(line, Oversize):
            return self._error("the line is too long")
        line = line.rstrip(b" ")
        if line == b"*":
            return self._error("cancelled")
        response = _decoded(line)
        if response is None:
            return self._error("that is no base64")
        return self._step(exchange, exchange.respond(response))

    def _step(self, exchange: Exchange, step: Step) -> None:
        match step:
            case Challenge(octets):
                self._exchange = exchange
                return self._send(b"+ " + b64encode(octets) + b"\r\n")
            case Proven(credentials):
                return self._ask_login(credentials)
            case Failed(Failure.BAD_CREDENTIALS):
                return self._refuse_login(LoginRefusal.BAD_CREDENTIALS)
            case Failed():
                return self._error("that is not what this mechanism sends")

    def _stls(self, rest: bytes) -> None:
        if self._has_arguments(rest):
            return
        if self._tls_active:
            return self._error("TLS runs already")
        if not self._profile.offers_tls:
            return self._error("TLS is not available here")
        if self._input.has_data:
            self._error("commands in clear behind STLS are not taken")
            self._finish(EndReason.CLEARTEXT_BEHIND_STLS)
            return
        self._ok("begin TLS now")
        self._pending = TlsRequested()

    def _login_needs_tls(self) -> bool:
        return self._profile.login_requires_tls and not self._tls_active

    def _refuse_without_tls(self) -> None:
        self._error("passwords are taken over TLS only" + (", send STLS first" if self._profile.offers_tls else ""))

    # TRANSACTION

    def _stat(self, rest: bytes) -> None:
        if not self._has_arguments(rest):
            self._ok(f"{self._listing.message_count} {self._listing.total_octets}")

    def _list(self, rest: bytes) -> None:
        if not rest.strip(b" "):
            self._ok("scan listing follows")
            self._lines = _ended(self._listing.list_lines())
        elif number := self._number_of(rest):
            self._ok(f"{number} {self._listing.octets(number)}")

    def _uidl(self, rest: bytes) -> None:
        if not rest.strip(b" "):
            self._ok("unique-id listing follows")
            self._lines = _ended(self._listing.uidl_lines())
        elif number := self._number_of(rest):
            self._ok(f"{number} {self._listing.uidl(number)}")

    def _retr(self, rest: bytes) -> None:
        if number := self._number_of(rest):
            self._pending = MessageRequested(number, None)

    def _top(self, rest: bytes) -> None:
        words = split_words(rest)
        body_lines = parse_number(words[1]) if len(words) == 2 else None
        if body_lines is None:
            return self._error("TOP wants a message number and a number of lines")
        if number := self._number_of(words[0]):
            self._pending = MessageRequested(number, body_lines)

    def _dele(self, rest: bytes) -> None:
        if number := self._number_of(rest):
            self._listing.delete(number)
            self._ok("marked to be deleted")

    def _rset(self, rest: bytes) -> None:
        if not self._has_arguments(rest):
            self._listing.reset()
            self._last_retrieved = 0
            self._ok("no message is marked")

    def _last(self, rest: bytes) -> None:
        if not self._has_arguments(rest):
            self._pending = LastRequested()

    def _noop(self, rest: bytes) -> None:
        if not self._has_arguments(rest):
            self._ok("done nothing")

    # Both

    def _capa(self, rest: bytes) -> None:
        if not self._has_arguments(rest):
            logged_in = self.state is SessionState.TRANSACTION
            lines = capability_lines(self._profile, tls_active=self._tls_active, logged_in=logged_in)
            self._ok("capabilities follow")
            self._send("".join(f"{line}\r\n" for line in lines).encode() + b".\r\n")

    def _quit(self, rest: bytes) -> None:
        if self._has_arguments(rest):
            return
        if self.state is SessionState.AUTHORIZATION:
            self._ok("bye")
            self._finish(EndReason.QUIT)
            return
        self.state = SessionState.UPDATE
        self._pending = UpdateRequested(self._listing.deleted_numbers)

    # Helpers

    @property
    def _listing(self) -> DropListing:
        if self._drop is None:
            raise LocalProtocolError("no maildrop is open")
        return self._drop

    def _has_arguments(self, rest: bytes) -> bool:
        if not rest.strip(b" "):
            return False
        self._error("this command takes no argument")
        return True

    def _number_of(self, rest: bytes) -> int | None:
        """The message number that is the only argument; None when it is none, and the client was told."""
        number = parse_number(rest.strip(b" "))
        if number is None:
            self._error("a message number is wanted")
        elif self._listing.was_deleted(number):
            self._error("that message is marked to be deleted")
        elif not self._listing.has(number):
            self._error("no such message")
        else:
            return number
        return None

    def _answer(self, *requests: type[Request]) -> None:
        if not isinstance(self._pending, requests):
            raise LocalProtocolError(f"this answers {requests[0].__name__}, which does not wait for an answer")
        self._pending = None

    def _ok(self, text: str) -> None:
        self.command_counts[self._verb, True] += 1
        self._send(f"+OK {text}\r\n".encode())

    def _error(self, text: str) -> None:
        self.command_counts[self._verb, False] += 1
        self._send(f"-ERR {text}\r\n".encode())

    def _bad_command(self, text: str) -> None:
        """Unknown or misplaced: the connection stays, up to a limit in a row."""
        self._bad_command_count += 1
        if self._bad_command_count <= self._profile.max_bad_commands:
            self._error(text)
        else:
            self._error("too many bad commands in a row")
            self._finish(EndReason.TOO_MANY_BAD_COMMANDS)

    def _finish(self, reason: EndReason) -> None:
        self.state = SessionState.ENDED
        self._end_reason = reason
        self._lines = None
        self._input.clear()

    def _send(self, data: bytes) -> None:
        self._output.append(data)
        self._unsent_octets += len(data)

    def _send_lines(self, lines: Iterator[bytes]) -> None:
        for data in lines:
            self._send(data)
            if self._unsent_octets > self._profile.max_unsent_octets:
                return
        self._lines = None


def _ended(lines: Iterator[bytes]) -> Iterator[bytes]:
    yield from lines
    yield b".\r\n"


def _decoded(text: bytes) -> bytes | None:
    try:
        return b64decode(text, validate=True)
    except binascii.Error:
        return None


_AUTHORIZATION = frozenset({SessionState.AUTHORIZATION})
_TRANSACTION = frozenset({SessionState.TRANSACTION})
_ANY = _AUTHORIZATION | _TRANSACTION
_COMMANDS: dict[bytes, tuple[frozenset[SessionState], Callable[[Session, bytes], None]]] = {
    b"USER": (_AUTHORIZATION, Session._user),
    b"PASS": (_AUTHORIZATION, Session._pass),
    b"AUTH": (_AUTHORIZATION, Session._auth),
    b"STLS": (_AUTHORIZATION, Session._stls),
    b"STAT": (_TRANSACTION, Session._stat),
    b"LIST": (_TRANSACTION, Session._list),
    b"UIDL": (_TRANSACTION, Session._uidl),
    b"RETR": (_TRANSACTION, Session._retr),
    b"TOP": (_TRANSACTION, Session._top),
    b"DELE": (_TRANSACTION, Session._dele),
    b"RSET": (_TRANSACTION, Session._rset),
    b"LAST": (_TRANSACTION, Session._last),
    b"NOOP": (_TRANSACTION, Session._noop),
    b"CAPA": (_ANY, Session._capa),
    b"QUIT": (_ANY, Session._quit),
}
