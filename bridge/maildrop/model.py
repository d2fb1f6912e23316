"""What the maildrop room speaks of: objects in S3, rows of the index, leases, removals."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from bridge.ids import FencingToken, MaildropId, MessageId, Uidl, ViewId
from bridge.mail.compression import ContentEncoding
from bridge.mail.mbox import Extent
from bridge.mail.measure import MessageMeasure


class Layout(StrEnum):
    """How messages lie under a maildrop's prefix."""

    OBJECTS = "objects"
    SES = "ses"
    MAILDIR = "maildir"
    MBOX = "mbox"


class LockPolicy(StrEnum):
    """What a second login to a view hears while the first session lives."""

    REFUSE = "refuse"
    WAIT = "wait"
    TAKEOVER = "takeover"
    SHARED_READONLY = "shared-readonly"


class RemovalPolicy(StrEnum):
    """What becomes of the object of a message that a client removed."""

    DELETE = "delete"
    TRASH = "trash"
    HIDE = "hide"


class History(StrEnum):
    """Whether clients may already know UIDLs of this maildrop.

    A maildrop with a past is not served before its index is complete: a client that keeps mail on the server forgets
    the UIDLs it does not see, and would fetch everything again.
    """

    NEW = "new"
    EXISTING = "existing"


@dataclass(frozen=True, slots=True)
class Maildrop:
    maildrop_id: MaildropId
    bucket: str
    key_prefix: str  # "" (the whole bucket) or ends in "/"
    layout: Layout
    history: History
    lock_policy: LockPolicy
    removal_policy: RemovalPolicy
    trash_prefix: str | None
    is_indexed: bool  # one listing at least was indexed whole
    index_version: int  # grows with every change of what the maildrop shows


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """One exact object: these octets under this key."""

    bucket: str
    key: str
    etag: str  # as S3 gives it, without the quotes
    version_id: str | None = None


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One entry of a listing."""

    ref: ObjectRef
    stored_octets: int
    modified_at: datetime
    storage_class: str | None = None  # None: the store does not say, or STANDARD


@dataclass(frozen=True, slots=True)
class ListingPage:
    objects: tuple[StoredObject, ...]
    is_last: bool  # True on the final page of a listing that ended whole


@dataclass(frozen=True, slots=True)
class ListedMessage:
    """A listed object that its layout calls a message (or an mbox of messages)."""

    identity: str
    object: StoredObject


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A measured message on its way into the index."""

    identity: str
    part: int  # 0: the whole object; 1, 2, ...: the slices of an mbox
    uidl: Uidl
    ref: ObjectRef
    stored_octets: int  # of the whole object
    extent: Extent | None
    encoding: ContentEncoding
    measure: MessageMeasure
    arrived_at: datetime  # Last-Modified at first indexing
    listed_at: datetime | None = None  # the database's time when the listing began that led here; None: no listing did


class RowState(StrEnum):
    LIVE = "live"
    VANISHED = "vanished"  # S3 lost it without our doing
    REMOVED = "removed"  # decided; its object is not confirmed gone yet
    CONFIRMED = "confirmed"  # removed, and its object was seen gone
    HIDDEN = "hidden"  # removed by policy hide: stays removed as long as the object exists


@dataclass(frozen=True, slots=True)
class KnownMessage:
    """What the index knows of an identity: its live row, else the newest row of it."""

    message_id: MessageId
    identity: str
    part: int
    state: RowState
    key: str
    etag: str
    uidl: Uidl
    digest: bytes  # SHA-256 of the canonical text


@dataclass(frozen=True, slots=True)
class Difference:
    """A listed message that is not simply live under the same key and etag."""

    listed: ListedMessage
    known: tuple[KnownMessage, ...]  # the live row (mbox: rows) of the identity, else the newest; empty: never seen


@dataclass(frozen=True, slots=True)
class ListingComparison:
    differences: tuple[Difference, ...]
    missing: tuple[KnownMessage, ...]  # live rows, indexed before the listing began, that it did not show
    live_count: int  # of the whole maildrop; only a whole listing counts it, else 0


@dataclass(frozen=True, slots=True)
class AddMessage:
    """Insert, unless a live row of the same identity and part is there already."""

    message: NewMessage


@dataclass(frozen=True, slots=True)
class RefreshMessage:
    """The same text under a new etag or key, or come back after it had vanished: the row and its UIDL stay.

    Has no effect on a row that is removed by now, or whose etag is no longer `known_etag`.
    """

    message_id: MessageId
    known_etag: str
    message: NewMessage  # its uidl and arrived_at are not taken


@dataclass(frozen=True, slots=True)
class ReplaceMessage:
    """Other text under an old identity: the old row vanishes, the new message comes."""

    message_id: MessageId
    known_etag: str
    message: NewMessage


@dataclass(frozen=True, slots=True)
class RequeueRemoval:
    """A removed message whose object stands again, same text, under a new etag: its delete is due again."""

    message_id: MessageId
    ref: ObjectRef


@dataclass(frozen=True, slots=True)
class VanishMessage:
    """S3 has lost the object, seen by a whole listing and a HEAD. No effect on a row that moved to another etag."""

    message_id: MessageId
    known_etag: str


IndexChange = AddMessage | RefreshMessage | ReplaceMessage | RequeueRemoval | VanishMessage


@dataclass(frozen=True, slots=True)
class ChangeReport:
    added_count: int
    refreshed_count: int
    vanished_count: int
    requeued_count: int
    uidl_taken: tuple[NewMessage, ...]  # not inserted: another row of the maildrop has this UIDL


@dataclass(frozen=True, slots=True)
class IndexedMessage:
    """What reading a message needs to know."""

    message_id: MessageId
    uidl: Uidl
    octets: int
    header_octets: int
    text_octets: int
    text_header_octets: int
    is_canonical: bool
    has_dot_lines: bool
    has_utf8_headers: bool
    ref: ObjectRef
    stored_octets: int
    extent: Extent | None
    encoding: ContentEncoding


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to be the one session of a view. Holder and token together are its fence."""

    maildrop_id: MaildropId
    view_id: ViewId
    holder: UUID  # one per session
    fencing_token: FencingToken


@dataclass(frozen=True, slots=True)
class Acquired:
    lease: Lease
    maildrop: Maildrop
    sync_age_s: float | None  # since the last whole listing began; None: never


@dataclass(frozen=True, slots=True)
class Renewal:
    """What one renewal found. A lease in neither set is unknown (its row was busy): ask again."""

    kept: frozenset[UUID]  # holders
    lost: frozenset[UUID]


@dataclass(frozen=True, slots=True)
class OpenLease:
    """A held lease as an operator sees it."""

    maildrop_id: MaildropId
    view_id: ViewId
    view_name: str
    login_names: tuple[str, ...]
    holder: UUID
    fencing_token: FencingToken
    held_s: float
    idle_s: float
    expires_in_s: float  # negative: expired, free for the next login


@dataclass(frozen=True, slots=True)
class Removal:
    """A decided removal: its object is to go."""

    maildrop_id: MaildropId
    message_id: MessageId
    policy: RemovalPolicy
    ref: ObjectRef
    stored_octets: int
    attempt_count: int


@dataclass(frozen=True, slots=True)
class RemovalBacklog:
    due_count: int
    oldest_age_s: float  # 0 when nothing is due


class DeleteResult(StrEnum):
    GONE = "gone"  # deleted now, or was not there
    CHANGED = "changed"  # another object stands under the key: not ours to delete
    REFUSED = "refused"  # the store says no for good (access denied, object lock)
    FAILED = "failed"  # a retry may cure it


@dataclass(frozen=True, slots=True)
class DeleteOutcome:
    ref: ObjectRef
    result: DeleteResult
    error: str = ""  # the store's code and words, without mail text
