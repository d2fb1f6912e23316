"""What the fakes of the stores share, as the real stores share one database."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from uuid import UUID

from bridge.accounts.model import Account
from bridge.ids import AccountId, FencingToken, MaildropId, MessageId, Uidl, ViewId
from bridge.maildrop.errors import NoSuchMaildrop
from bridge.maildrop.model import Maildrop, NewMessage, ObjectRef, RemovalPolicy, RowState
from tests.fakes.clock import FakeClock


@dataclass(slots=True)
class ViewRow:
    maildrop_id: MaildropId
    view_id: ViewId
    name: str = ""
    fencing_token: FencingToken = field(default_factory=lambda: FencingToken(0))
    lease_holder: UUID | None = None
    lease_expires_at: datetime | None = None
    last_active_at: datetime | None = None
    last_login_at: datetime | None = None
    last_quit_at: datetime | None = None
    seen: set[MessageId] = field(default_factory=set)


@dataclass(slots=True)
class RemovalRow:
    policy: RemovalPolicy
    ref: ObjectRef
    stored_octets: int
    removed_at: datetime
    due_at: datetime | None  # None: never
    claimed_until: datetime | None
    attempt_count: int = 0
    confirmed_at: datetime | None = None
    last_error: str | None = None


@dataclass(slots=True)
class MessageRow:
    message_id: MessageId
    message: NewMessage
    indexed_at: datetime
    is_vanished: bool = False
    removal: RemovalRow | None = None

    @property
    def uidl(self) -> Uidl:
        return self.message.uidl

    @property
    def is_live(self) -> bool:
        return self.removal is None and not self.is_vanished

    @property
    def state(self) -> RowState:
        if self.removal is None:
            return RowState.VANISHED if self.is_vanished else RowState.LIVE
        if self.removal.policy is RemovalPolicy.HIDE:
            return RowState.HIDDEN
        return RowState.REMOVED if self.removal.confirmed_at is None else RowState.CONFIRMED


@dataclass(slots=True)
class FakeTables:
    clock: FakeClock = field(default_factory=FakeClock)
    accounts: dict[AccountId, Account] = field(default_factory=dict)
    maildrops: dict[MaildropId, Maildrop] = field(default_factory=dict)
    synced_at: dict[MaildropId, datetime] = field(default_factory=dict)
    sync_tried_at: dict[MaildropId, datetime] = field(default_factory=dict)
    views: dict[tuple[MaildropId, ViewId], ViewRow] = field(default_factory=dict)
    messages: dict[MaildropId, dict[MessageId, MessageRow]] = field(default_factory=dict)
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    def next_number(self) -> int:
        return next(self._numbers)

    def add_maildrop(self, maildrop: Maildrop) -> ViewRow:
        """The maildrop with its own view ''."""
        view = ViewRow(maildrop.maildrop_id, ViewId(self.next_number()))
        self.maildrops[maildrop.maildrop_id] = maildrop
        self.messages[maildrop.maildrop_id] = {}
        self.views[maildrop.maildrop_id, view.view_id] = view
        return view

    def drop_maildrop(self, maildrop_id: MaildropId) -> None:
        del self.maildrops[maildrop_id], self.messages[maildrop_id]
        self.synced_at.pop(maildrop_id, None)
        self.sync_tried_at.pop(maildrop_id, None)
        self.views = {key: view for key, view in self.views.items() if view.maildrop_id != maildrop_id}

    def maildrop(self, maildrop_id: MaildropId) -> Maildrop:
        try:
            maildrop = self.maildrops[maildrop_id]
        except KeyError:
            raise NoSuchMaildrop(f"maildrop {maildrop_id}") from None
        return replace(maildrop, is_indexed=maildrop_id in self.synced_at)

    def grow_index_version(self, maildrop_id: MaildropId) -> None:
        maildrop = self.maildrops[maildrop_id]
        self.maildrops[maildrop_id] = replace(maildrop, index_version=maildrop.index_version + 1)
