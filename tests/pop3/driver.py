"""A driver without a network: it answers a pure session from a few messages and accounts in memory."""

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.pop3.events import (
    DrainNeeded,
    EndReason,
    LastRequested,
    LoginRefusal,
    LoginRequested,
    MessageRequested,
    NeedData,
    SessionEnded,
    TlsRequested,
    UpdateRequested,
)
from bridge.pop3.session import Session
from tests.pop3.transcript import Scene


@dataclass(frozen=True, slots=True)
class ColumnListing:
    """A `Listing` out of two columns."""

    octets_column: Sequence[int]
    uidl_column: Sequence[str]

    @property
    def count(self) -> int:
        return len(self.octets_column)

    @property
    def total_octets(self) -> int:
        return sum(self.octets_column)

    def octets(self, number: int) -> int:
        return self.octets_column[number - 1]

    def uidl(self, number: int) -> str:
        return self.uidl_column[number - 1]

    def octets_range(self, first: int, last: int) -> Sequence[int]:
        return self.octets_column[first - 1 : last]

    def uidl_range(self, first: int, last: int) -> Sequence[str]:
        return self.uidl_column[first - 1 : last]


def listing_of(messages: Sequence[bytes]) -> ColumnListing:
    return ColumnListing([len(text) for text in messages], [f"uidl-{number}" for number in range(1, len(messages) + 1)])


class PureDriver:
    """Feeds octets to a session, carries out what it asks, and keeps what it sends."""

    def __init__(self, scene: Scene, *, chunk_octets: int = 7) -> None:
        self.session = Session(scene.profile, tls_active=scene.tls_active)
        self.sent = bytearray()  # by the session
        self.removed: tuple[int, ...] = ()
        self.end_reason: EndReason | None = None
        self.waits_for_tls = False
        self._scene = scene
        self._chunk_octets = chunk_octets
        self.run()

    def receive(self, octets: bytes) -> None:
        self.session.receive_data(octets)
        self.waits_for_tls = False
        self.run()

    def receive_eof(self) -> None:
        self.session.receive_eof()
        self.run()

    def shake_hands(self) -> None:
        assert self.waits_for_tls, "the session did not ask for TLS"
        self.session.tls_established()
        self.waits_for_tls = False
        self.run()

    def run(self) -> None:
        """Until the session needs the client, or has ended."""
        while not self.waits_for_tls:
            event = self.session.next_event()
            self.sent += self.session.data_to_send()
            match event:
                case NeedData():
                    return
                case DrainNeeded():
                    pass
                case SessionEnded(reason):
                    self.end_reason = reason
                    return
                case TlsRequested():
                    self.waits_for_tls = True
                case LoginRequested():
                    self._login(event)
                case MessageRequested():
                    self._send_message(event)
                case LastRequested():
                    self.session.provide_last(self._scene.last_number)
                case UpdateRequested(deleted_numbers):
                    self._update(deleted_numbers)

    def _login(self, request: LoginRequested) -> None:
        credentials = request.credentials
        for account in self._scene.accounts:
            if (
                (credentials.login_name, credentials.password) == (account.login_name, account.password)
                and credentials.authorization_name in ("", account.login_name)
            ):  # fmt: skip
                if account.refusal is None:
                    self.session.accept_login(listing_of(self._scene.messages))
                else:
                    self.session.refuse_login(account.refusal)
                return
        self.session.refuse_login(LoginRefusal.BAD_CREDENTIALS)

    def _send_message(self, request: MessageRequested) -> None:
        refusal = self._scene.unreadable.get(request.number)
        if refusal is not None:
            self.session.refuse_message(refusal)
            return
        text = self._scene.messages[request.number - 1]
        encoder = self.session.begin_message()
        self.sent += self.session.data_to_send()
        for first in range(0, len(text), self._chunk_octets):
            self.sent += encoder.encode(text[first : first + self._chunk_octets])
        if request.body_lines is None:
            assert encoder.canonical_octets == len(text)
        self.sent += encoder.finish()
        self.session.end_message()

    def _update(self, deleted_numbers: tuple[int, ...]) -> None:
        refusal = self._scene.update_refusal
        if refusal is None:
            self.removed = deleted_numbers
            self.session.complete_update()
        else:
            self.session.fail_update(refusal)
