"""What the maildrop room needs from outside. Satisfied by `bridge.s3`, `bridge.postgres`, and the fakes of the tests.

Every method may raise `StoreUnavailable`; what else it raises is said beside it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol
from uuid import UUID

from bridge.ids import MaildropId, MessageId, ViewId
from bridge.maildrop.model import (
    Acquired,
    ChangeReport,
    DeleteOutcome,
    IndexChange,
    IndexedMessage,
    Lease,
    ListedMessage,
    ListingComparison,
    ListingPage,
    Maildrop,
    ObjectRef,
    OpenLease,
    Removal,
    RemovalBacklog,
    Renewal,
    StoredObject,
)
from bridge.maildrop.snapshot import Snapshot


class ObjectBody(Protocol):
    """The answer to a GET that has begun well: status 200 or 206 and the headers are in."""

    @property
    def ref(self) -> ObjectRef:
        """The object that answers, with its own etag."""

    @property
    def octet_count(self) -> int:
        """How many octets `chunks` will yield (Content-Length)."""

    @property
    def modified_at(self) -> datetime: ...

    @property
    def content_encoding(self) -> str:
        """The Content-Encoding header as stored, "" when there is none. Chunks are never decoded."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """User metadata, keys in lower case and without `x-amz-meta-`."""

    def chunks(self, chunk_octets: int) -> AsyncIterator[bytes]:
        """The stored octets, in pieces of at most `chunk_octets`, `octet_count` in all.

        Raises StoreUnavailable when the stream breaks off or stalls before that.
        """


class ObjectStore(Protocol):
    def list_objects(self, bucket: str, prefix: str) -> AsyncIterator[ListingPage]:
        """All objects under the prefix, by continuation tokens, in whatever order the store lists.

        Only a listing that ended whole yields a page with `is_last`. Raises ObjectUnreadable when the bucket is not
        there or may not be listed.
        """

    def open_object(
        self, bucket: str, key: str, *, etag: str | None, first_octet: int = 0, octet_count: int | None = None
    ) -> AbstractAsyncContextManager[ObjectBody]:
        """Start a GET; with `etag`, conditional on it (If-Match).

        A range wholly behind the object's end yields no octets. Raises ObjectGone, ObjectChanged, ObjectUnreadable.
        """

    async def describe_object(self, bucket: str, key: str) -> StoredObject | None:
        """HEAD; None when it is not there. Raises ObjectUnreadable."""

    async def delete_objects(self, refs: Sequence[ObjectRef]) -> Sequence[DeleteOutcome]:
        """Delete each object that still is the one named, looked at right before; one outcome for each, in order.

        At most 1,000 refs of one bucket. Raises nothing for a single object: its outcome says what happened.
        """

    async def put_object(self, bucket: str, key: str, body: bytes, metadata: Mapping[str, str]) -> ObjectRef:
        """Write an object (seeding, imports, manifests). Raises ObjectUnreadable when it may not be written."""


class MessageIndex(Protocol):
    async def maildrop(self, maildrop_id: MaildropId) -> Maildrop:
        """Raises NoSuchMaildrop."""

    async def claim_for_sync(self, *, older_than_s: float, limit: int) -> Sequence[MaildropId]:
        """Those that were neither listed nor claimed for longest (never comes first); no other worker gets them."""

    async def begin_sync(self, maildrop_id: MaildropId) -> datetime:
        """The database's time now: the start of a listing. Raises NoSuchMaildrop."""

    async def compare_listing(
        self, maildrop_id: MaildropId, listed: Sequence[ListedMessage], *, whole_since: datetime | None
    ) -> ListingComparison:
        """What of `listed` is not simply live under the same key and etag, in one statement.

        `whole_since`: the listing was whole and began then, so live rows added before it that it does not show are
        `missing`. None: a part only (an event's key); nothing is missing.
        """

    async def apply_changes(self, maildrop_id: MaildropId, changes: Sequence[IndexChange]) -> ChangeReport:
        """Make the changes in one transaction, serialised per maildrop; idempotent; grows `index_version` once.

        At most 1,000 changes.
        """

    async def end_sync(self, maildrop_id: MaildropId, began_at: datetime) -> None:
        """A whole listing that began then is indexed to its end. An older `began_at` than the kept one does nothing."""

    async def load_snapshot(self, maildrop_id: MaildropId) -> Snapshot:
        """All live messages, oldest first (arrived_at, then identity and part byte-wise), with the index version."""

    async def messages(self, maildrop_id: MaildropId, message_ids: Sequence[MessageId]) -> Sequence[IndexedMessage]:
        """By id, in the order asked, also removed and vanished ones; ids that are not there are left out."""

    async def distrust(self, maildrop_id: MaildropId, message_id: MessageId) -> None:
        """Forget the etag of a live message, so that the next sync reads and measures it anew."""

    async def note_retrieved(self, maildrop_id: MaildropId, view_id: ViewId, message_ids: Sequence[MessageId]) -> None:
        """These were sent whole by RETR in a session of the view: the first time is kept, for LAST and EXPIRE."""

    async def seen(self, maildrop_id: MaildropId, view_id: ViewId) -> frozenset[MessageId]:
        """Ids of live messages that `note_retrieved` had for this view."""

    async def remove_messages(
        self, lease: Lease, message_ids: Sequence[MessageId], *, claim_duration_s: float
    ) -> Sequence[Removal]:
        """The one transaction of QUIT: fence, mark removed, write the outbox (claimed for the caller), commit.

        Messages that were removed already are left out of the answer. Raises LeaseLost (nothing was changed),
        OutcomeUnknown only when it could not be found out whether the commit happened.
        """


class LeaseStore(Protocol):
    async def acquire(
        self,
        maildrop_id: MaildropId,
        view_id: ViewId,
        holder: UUID,
        *,
        lease_duration_s: float,
        login_delay_s: float,
        takeover_idle_s: float,
    ) -> Acquired:
        """Take the view's lease if it is free, expired, or (policy takeover) its holder silent for `takeover_idle_s`.

        Raises MaildropInUse, LoginTooSoon, NoSuchMaildrop.
        """

    async def renew(self, leases: Sequence[Lease], *, idle_s: Sequence[float], lease_duration_s: float) -> Renewal:
        """Prolong all these in one statement, skipping rows that are busy; `idle_s[i]` says how long lease i's session
        has been silent, for takeover. An expired lease that nobody took is kept.
        """

    async def release(self, lease: Lease, *, by_quit: bool) -> None:
        """Give it back; no effect with an old token. `by_quit`: the login delay counts from now."""

    async def abandon(self, maildrop_id: MaildropId, view_id: ViewId, holder: UUID) -> None:
        """Free the view if this holder has it: for an acquire whose answer was lost."""

    async def break_lease(self, maildrop_id: MaildropId, view_id: ViewId) -> bool:
        """The operator's way out: frees the view and raises the token, so that the old holder can remove nothing."""

    async def open_leases(self, *, limit: int) -> Sequence[OpenLease]: ...


class RemovalOutbox(Protocol):
    async def claim(self, *, limit: int, claim_duration_s: float) -> Sequence[Removal]:
        """Due removals that nobody works on, oldest first, claimed for this long."""

    async def complete(self, removals: Sequence[Removal]) -> None:
        """Their objects are gone. No effect on one that was queued again for another etag."""

    async def postpone(self, removals: Sequence[Removal], *, retry_delay_s: float, error: str) -> None:
        """Give the claims back; due again after the delay. `retry_delay_s` 0: due at once, not counted as a try."""

    async def put_back(self, removals: Sequence[Removal], *, error: str) -> int:
        """The store refuses for good: the messages are live again, same row, same UIDL, in one transaction."""

    async def backlog(self) -> RemovalBacklog: ...
