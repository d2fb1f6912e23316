"""The command line on stores in memory: what a person types, and what is printed."""

import io
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import md5

import pytest

from bridge.accounts.passwords import PasswordVerifier
from bridge.accounts.ports import AccountStore
from bridge.accounts.provisioning import Provisioning
from bridge.cli import main
from bridge.cli.context import Context
from bridge.maildrop.errors import ObjectChanged, ObjectGone, ObjectUnreadable, StoreUnavailable
from bridge.maildrop.model import DeleteOutcome, DeleteResult, ListingPage, ObjectRef, StoredObject
from bridge.maildrop.ports import LeaseStore, MessageIndex, ObjectStore, RemovalOutbox
from bridge.maildrop.sync import Syncer
from bridge.postgres.migrate import MigrationReport
from bridge.settings import Settings
from tests.accounts.hashers import CountingHasher
from tests.fakes.account_store import FakeAccountStore
from tests.fakes.lease_store import FakeLeaseStore
from tests.fakes.message_index import FakeMessageIndex
from tests.fakes.removal_outbox import FakeRemovalOutbox
from tests.fakes.tables import FakeTables

URL = "postgresql://bridge:s3cret@db/bridge"


@dataclass(frozen=True)
class Body:
    ref: ObjectRef
    octets: bytes
    modified_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    content_encoding: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def octet_count(self) -> int:
        return len(self.octets)

    async def chunks(self, chunk_octets: int) -> AsyncIterator[bytes]:
        yield self.octets


@dataclass
class BucketStore:
    """One bucket. `faults`: what it does wrong, by the name of the method."""

    bucket: str = "mail"
    objects: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, Exception] = field(default_factory=dict)
    ignores_conditions: bool = False

    def _ref(self, key: str) -> ObjectRef:
        return ObjectRef(self.bucket, key, md5(self.objects[key]).hexdigest())

    def _fail(self, method: str) -> None:
        if method in self.faults:
            raise self.faults[method]

    async def list_objects(self, bucket: str, prefix: str) -> AsyncIterator[ListingPage]:
        self._fail("list")
        if bucket != self.bucket:
            raise ObjectUnreadable("NoSuchBucket")
        keys = sorted(key for key in self.objects if key.startswith(prefix))
        stored = [
            StoredObject(self._ref(key), len(self.objects[key]), datetime(2026, 1, 1, tzinfo=UTC)) for key in keys
        ]
        yield ListingPage(tuple(stored), is_last=True)

    @asynccontextmanager
    async def open_object(
        self, bucket: str, key: str, *, etag: str | None, first_octet: int = 0, octet_count: int | None = None
    ) -> AsyncIterator[Body]:
        self._fail("get")
        if key not in self.objects:
            raise ObjectGone(key)
        if etag not in (None, self._ref(key).etag) and not self.ignores_conditions:
            raise ObjectChanged(key)
        yield Body(self._ref(key), self.objects[key])

    async def describe_object(self, bucket: str, key: str) -> StoredObject | None:
        if key not in self.objects:
            return None
        return StoredObject(self._ref(key), len(self.objects[key]), datetime(2026, 1, 1, tzinfo=UTC))

    async def delete_objects(self, refs: Sequence[ObjectRef]) -> Sequence[DeleteOutcome]:
        if "delete" in self.faults:
            return [DeleteOutcome(ref, DeleteResult.REFUSED, str(self.faults["delete"])) for ref in refs]
        for ref in refs:
            self.objects.pop(ref.key, None)
        return [DeleteOutcome(ref, DeleteResult.GONE) for ref in refs]

    async def put_object(self, bucket: str, key: str, body: bytes, metadata: Mapping[str, str]) -> ObjectRef:
        self._fail("put")
        self.objects[key] = body
        return self._ref(key)


@dataclass
class Probe:
    is_current: bool = True
    takes_writes: bool = True
    fault: Exception | None = None

    async def schema_is_current(self) -> bool:
        if self.fault:
            raise self.fault
        return self.is_current

    async def is_writable(self) -> bool:
        return self.takes_writes


@dataclass(frozen=True)
class RigTools:
    provisioning: Provisioning
    accounts: AccountStore
    index: MessageIndex
    leases: LeaseStore
    outbox: RemovalOutbox
    syncer: Syncer
    store: ObjectStore
    database: Probe


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str


class Rig:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.environment = {"BRIDGE_POSTGRES__URL": URL, "BRIDGE_S3__BUCKET": "mail"}
        self.tables = FakeTables()
        self.accounts = FakeAccountStore(self.tables)
        self.leases = FakeLeaseStore(self.tables)
        self.bucket = BucketStore()
        self.probe = Probe()
        self.migration: MigrationReport | Exception = MigrationReport(("accounts", "messages"), 2)
        self.passwords = PasswordVerifier(CountingHasher(), max_parallel_checks=1)
        self.asked: list[str] = []

    def run(self, *argv: str, stdin: io.StringIO | None = None, secrets: Sequence[str] = ()) -> Said:
        """Type a command; `secrets` are typed where one is asked for."""
        typed = iter(secrets)

        def ask_secret(words: str) -> str:
            self.asked.append(words)
            return next(typed)

        context = Context(self.environment, stdin or io.StringIO(), ask_secret, self._open_tools, self._migrate)
        code = main(argv, context)
        out, err = self.capsys.readouterr()
        return Said(code, out, err)

    @asynccontextmanager
    async def _open_tools(self, settings: Settings) -> AsyncIterator[RigTools]:
        index = FakeMessageIndex(self.tables)
        syncer = Syncer(
            self.bucket,
            index,
            parallel_measure_count=2,
            max_text_octets=1_000_000,
            sync_timeout_s=settings.sync.timeout_s,
        )
        yield RigTools(
            provisioning=Provisioning(self.accounts, self.passwords),
            accounts=self.accounts,
            index=index,
            leases=self.leases,
            outbox=FakeRemovalOutbox(self.tables),
            syncer=syncer,
            store=self.bucket,
            database=self.probe,
        )
        await syncer.close()

    async def _migrate(self, settings: Settings) -> MigrationReport:
        if isinstance(self.migration, Exception):
            raise self.migration
        return self.migration


AWAY = StoreUnavailable("connection refused")
