"""The composition root: settings in, rooms wired, roles running. The only place where doors and adapters meet.

May import: everything but cli and dev.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from prometheus_client import CollectorRegistry

from bridge import __version__
from bridge.accounts.login import AccountChecker, LoginService
from bridge.accounts.model import ClientAddress
from bridge.accounts.passwords import Argon2Hasher, PasswordVerifier
from bridge.accounts.provisioning import Provisioning
from bridge.accounts.verified import VerifiedPasswords
from bridge.admin.health import Health
from bridge.admin.http import AdminServer
from bridge.admin.http import PortInUse as AdminPortInUse
from bridge.background import run_again_and_again
from bridge.maildrop.errors import MaildropError, StoreUnavailable
from bridge.maildrop.leasing import LeaseKeeper
from bridge.maildrop.model import NewMessage
from bridge.maildrop.opening import MaildropService, SnapshotCache
from bridge.maildrop.reading import MessageReader
from bridge.maildrop.removing import RemovalWorker
from bridge.maildrop.sync import Syncer, SyncReport
from bridge.pop3.profile import SessionProfile
from bridge.postgres import migrate as migrating
from bridge.postgres.account_store import PostgresAccountStore
from bridge.postgres.database import Connection, Database, DatabaseLimits
from bridge.postgres.lease_store import PostgresLeaseStore
from bridge.postgres.message_index import PostgresMessageIndex
from bridge.postgres.migrate import MigrationReport
from bridge.postgres.removal_outbox import PostgresRemovalOutbox
from bridge.s3.clients import S3Options, s3_client
from bridge.s3.object_store import S3ObjectStore
from bridge.server.connection import ConnectionLimits, ConnectionRooms, serve_connection
from bridge.server.drain import Drain
from bridge.server.listener import Doors, Listener, PortInUse
from bridge.server.tls import CertificateUnusable, TlsContexts
from bridge.settings import Settings
from bridge.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

__all__ = ["BackgroundWorkDied", "CertificateUnusable", "PortTaken", "Role", "Tools", "migrate", "open_tools", "run"]

_RELEASE_TIMEOUT_S = 10.0
_PROBE_TIMEOUT_S = 5.0
_SYNC_BATCH_COUNT = 100
_SYNC_BUDGET_S = 60.0  # what is not done by then goes on, while the next maildrop has its turn


class PortTaken(Exception):
    """Somebody else listens on a port; the message names the setting that moves ours."""


class BackgroundWorkDied(Exception):
    """Something the process cannot work without ended by itself; the log says why."""


class Role(StrEnum):
    POP3 = "pop3"
    WORKER = "worker"
    ADMIN = "admin"  # health and metrics, which every process has


class DatabaseProbe:
    """What `check` and readiness ask of Postgres. Both raise StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def schema_is_current(self) -> bool:
        return await migrating.schema_is_current(self._database)

    async def is_writable(self) -> bool:
        async def read(connection: Connection) -> bool:
            return not await connection.fetchval("SELECT pg_is_in_recovery()")

        return await self._database.run("probe", read, is_repeatable=True)


@dataclass(frozen=True, slots=True)
class Tools:
    """The rooms, wired, for roles and for the command line."""

    provisioning: Provisioning
    passwords: PasswordVerifier
    accounts: PostgresAccountStore
    index: PostgresMessageIndex
    leases: PostgresLeaseStore
    outbox: PostgresRemovalOutbox
    syncer: Syncer
    store: S3ObjectStore
    database: DatabaseProbe


async def migrate(settings: Settings) -> MigrationReport:
    """Bring the schema up to date. Raises MigrationError, StoreUnavailable."""
    return await migrating.migrate(settings.postgres.url.get_secret_value())


@asynccontextmanager
async def open_tools(settings: Settings, metrics: Metrics | None = None) -> AsyncIterator[Tools]:
    """Open the pool and the S3 client, wire the stores, and close them behind."""
    metrics = metrics or Metrics(CollectorRegistry())
    postgres, s3 = settings.postgres, settings.s3
    limits = DatabaseLimits(
        max_connection_count=postgres.pool_max_size,
        statement_cache_count=postgres.statement_cache_size,
        connect_timeout_s=postgres.connect_timeout_s,
        acquire_timeout_s=postgres.acquire_timeout_s,
        command_timeout_s=postgres.command_timeout_s,
    )
    options = S3Options(
        endpoint_url=s3.endpoint_url,
        region=s3.region,
        path_style=s3.path_style,
        access_key_id=s3.access_key_id.get_secret_value() if s3.access_key_id else None,
        secret_access_key=s3.secret_access_key.get_secret_value() if s3.secret_access_key else None,
        request_checksum_calculation=s3.request_checksum_calculation,
        max_connections=s3.max_connections,
        connect_timeout_s=s3.connect_timeout_s,
        read_timeout_s=s3.read_timeout_s,
        attempt_count=s3.attempt_count,
    )
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            Database(postgres.url.get_secret_value(), limits, observe=metrics.observe_postgres)
        )
        client = await stack.enter_async_context(s3_client(options))
        passwords = PasswordVerifier(
            Argon2Hasher(
                memory_kib=settings.login.argon2_memory_kib, iteration_count=settings.login.argon2_iteration_count
            ),
            max_parallel_checks=settings.login.max_parallel_password_checks,
        )
        stack.callback(passwords.close)
        store = S3ObjectStore(client, options, observe=metrics.observe_s3)
        index = PostgresMessageIndex(database)
        accounts = PostgresAccountStore(database)

        def on_report(report: SyncReport) -> None:
            metrics.sync_duration.observe(report.duration_s)
            metrics.count_sync(
                listed=report.listed_count,
                added=report.added_count,
                vanished=report.vanished_count,
                held=report.held_count,
                unreadable=report.unreadable_count,
            )

        def on_indexed(message: NewMessage) -> None:
            metrics.index_lag.observe(max(0.0, (datetime.now(UTC) - message.arrived_at).total_seconds()))

        syncer = Syncer(
            store,
            index,
            parallel_measure_count=settings.sync.parallel_measure_count,
            max_text_octets=settings.maildrop.max_text_octets,
            sync_timeout_s=settings.sync.timeout_s,
            on_report=on_report,
            on_indexed=on_indexed,
        )
        stack.push_async_callback(syncer.close)
        yield Tools(
            provisioning=Provisioning(accounts, passwords),
            passwords=passwords,
            accounts=accounts,
            index=index,
            leases=PostgresLeaseStore(database),
            outbox=PostgresRemovalOutbox(database),
            syncer=syncer,
            store=store,
            database=DatabaseProbe(database),
        )


async def run(settings: Settings, roles: frozenset[Role], stop: asyncio.Event, *, ready: asyncio.Event) -> None:
    """Run the roles, health and metrics until `stop` is set; then drain, and close everything in reverse order.

    `ready` is set once the doors are open. Raises PortTaken, CertificateUnusable, BackgroundWorkDied.
    """
    metrics = Metrics(CollectorRegistry())
    drain = Drain()
    async with AsyncExitStack() as stack:
        tools = await stack.enter_async_context(open_tools(settings, metrics))
        tasks = _Tasks(stack, stop)
        worker = RemovalWorker(
            tools.outbox,
            tools.store,
            tools.syncer,
            claim_duration_s=settings.removal.claim_duration_s,
            first_retry_delay_s=settings.removal.first_retry_delay_s,
            max_retry_delay_s=settings.removal.max_retry_delay_s,
        )
        tls = await _certificate(settings, metrics)
        listener = None
        if Role.POP3 in roles:
            listener = await _open_doors(settings, tools, worker, tls, drain, metrics, tasks, stack)
        health = Health(
            {"postgres": _postgres_probe(tools)} | ({"certificate": _certificate_probe(tls)} if tls else {}),
            is_draining=lambda: drain.is_draining,
            timeout_s=_PROBE_TIMEOUT_S,
        )
        admin = AdminServer(health, metrics.registry, host=settings.admin.host, port=settings.admin.port)
        try:
            await stack.enter_async_context(admin)
        except AdminPortInUse as error:
            raise PortTaken(f"{error}: set BRIDGE_ADMIN__PORT to a free one") from error
        if tls is not None:
            tasks.keep(tls.watch(poll_interval_s=settings.tls.reload_interval_s), "certificate")
        if Role.WORKER in roles:
            _start_worker(settings, tools, worker, metrics, stop, tasks)
        log.info(
            "ready",
            extra={
                "roles": ", ".join(sorted(roles)),
                "ports": listener.ports if listener else (),
                "admin_port": admin.port,
            },
        )
        ready.set()
        await stop.wait()
        if listener is not None:
            await drain.drain(
                listener.stop_accepting,
                accept_grace_s=settings.server.drain_accept_grace_s,
                idle_s=settings.server.drain_idle_s,
                timeout_s=settings.server.drain_timeout_s,
            )
    if tasks.died:
        raise BackgroundWorkDied(", ".join(tasks.died))


async def _certificate(settings: Settings, metrics: Metrics) -> TlsContexts | None:
    if settings.tls.certificate_file is None or settings.tls.key_file is None:
        return None
    tls = TlsContexts(settings.tls.certificate_file, settings.tls.key_file, metrics)
    await tls.load()
    return tls


async def _open_doors(
    settings: Settings,
    tools: Tools,
    worker: RemovalWorker,
    tls: TlsContexts | None,
    drain: Drain,
    metrics: Metrics,
    tasks: "_Tasks",
    stack: AsyncExitStack,
) -> Listener:
    server, maildrop = settings.server, settings.maildrop
    keeper = LeaseKeeper(
        tools.leases,
        lease_duration_s=maildrop.lease_duration_s,
        renew_interval_s=maildrop.lease_renew_interval_s,
        takeover_idle_s=maildrop.takeover_idle_s,
        wait_s=maildrop.lease_wait_s,
        release_timeout_s=_RELEASE_TIMEOUT_S,
        on_conflict=metrics.lease_conflicts.inc,
        on_lost=metrics.lease_losses.inc,
    )
    verified = VerifiedPasswords(lifetime_s=settings.login.verified_password_lifetime_s, clock=time.monotonic)

    def profile(client: ClientAddress) -> SessionProfile:
        is_old_device = any(client.address in network for network in settings.login.cleartext_networks)
        return SessionProfile(
            implementation=f"pop3-bridge-{__version__}" if server.show_implementation else None,
            offers_tls=tls is not None,
            login_requires_tls=not is_old_device,
        )

    maildrops = MaildropService(
        keeper,
        tools.syncer,
        tools.index,
        worker,
        snapshots=SnapshotCache(max_octets=maildrop.snapshot_cache_octets),
        sync_min_interval_s=settings.sync.min_interval_s,
        login_sync_budget_s=maildrop.login_sync_budget_s,
        quit_delete_budget_s=maildrop.quit_delete_budget_s,
    )
    rooms = ConnectionRooms(
        profile=profile,
        logins=LoginService(AccountChecker(tools.accounts, tools.passwords, verified)),
        maildrops=maildrops,
        messages=MessageReader(
            tools.store, read_attempts=maildrop.read_attempts, max_text_octets=maildrop.max_text_octets
        ),
        tls=tls,
        drain=drain,
        metrics=metrics,
        limits=ConnectionLimits(
            login_timeout_s=server.login_timeout_s,
            idle_timeout_s=server.idle_timeout_s,
            write_timeout_s=server.write_timeout_s,
            tls_handshake_timeout_s=settings.tls.handshake_timeout_s,
        ),
    )
    listener = Listener(
        Doors(
            host=server.host,
            pop3_port=server.pop3_port,
            pop3s_port=server.pop3s_port if tls is not None else None,
            trusted_networks=settings.proxy.trusted_networks,
            max_connections=server.max_connections,
            max_connections_per_network=server.max_connections_per_network,
            shares_ports=server.share_ports,
            proxy_header_timeout_s=settings.proxy.header_timeout_s,
            tls_handshake_timeout_s=settings.tls.handshake_timeout_s,
        ),
        lambda wire, client, tls_active: serve_connection(wire, client, tls_active, rooms),
        tls=tls,
        metrics=metrics,
    )
    tasks.keep(keeper.run(), "leases")
    stack.push_async_callback(keeper.close)
    stack.push_async_callback(maildrops.close)
    stack.push_async_callback(listener.close)
    try:
        await listener.start()
    except PortInUse as error:
        is_plain = error.port == server.pop3_port
        name = "BRIDGE_SERVER__POP3_PORT" if is_plain else "BRIDGE_SERVER__POP3S_PORT"
        raise PortTaken(f"{error}: set {name} to a free one") from error
    return listener


def _start_worker(
    settings: Settings,
    tools: Tools,
    worker: RemovalWorker,
    metrics: Metrics,
    stop: asyncio.Event,
    tasks: "_Tasks",
) -> None:
    async def remove() -> None:
        with contextlib.suppress(StoreUnavailable):  # counted where it happened; the rows stay due
            while await worker.run_once():
                pass
            backlog = await tools.outbox.backlog()
            metrics.removals_due.set(backlog.due_count)
            metrics.removals_oldest_age.set(backlog.oldest_age_s)

    async def sync() -> None:
        with contextlib.suppress(StoreUnavailable):
            claimed = await tools.index.claim_for_sync(
                older_than_s=settings.sync.background_interval_s, limit=_SYNC_BATCH_COUNT
            )
            for maildrop_id in claimed:
                try:
                    await tools.syncer.sync(maildrop_id, budget_s=_SYNC_BUDGET_S)
                except MaildropError as error:  # this drop's own trouble
                    log.warning("background sync failed", extra={"maildrop_id": maildrop_id, "error": str(error)})

    def count() -> None:
        metrics.unexpected_errors.labels("worker").inc()

    interval_s = settings.removal.poll_interval_s
    tasks.keep(run_again_and_again("removals", remove, interval_s=interval_s, stop=stop, on_error=count), "removals")
    sync_interval_s = min(60.0, settings.sync.background_interval_s)
    tasks.keep(run_again_and_again("sync", sync, interval_s=sync_interval_s, stop=stop, on_error=count), "sync")


class _Tasks:
    """What a process cannot work without, each until the stack is left. One that ends by itself stops the process."""

    def __init__(self, stack: AsyncExitStack, stop: asyncio.Event) -> None:
        self.died: list[str] = []
        self._stack = stack
        self._stop = stop
        self._is_ending: set[str] = set()

    def keep(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)

        async def end() -> None:
            self._is_ending.add(name)
            task.cancel()
            await asyncio.wait([task])

        self._stack.push_async_callback(end)

    def _ended(self, task: asyncio.Task[None]) -> None:
        name = task.get_name()
        if name in self._is_ending or self._stop.is_set():
            return
        error = None if task.cancelled() else task.exception()
        log.critical("a background task ended, the process stops", extra={"work": name}, exc_info=error)
        self.died.append(name)
        self._stop.set()


def _postgres_probe(tools: Tools) -> Callable[[], Awaitable[None]]:
    async def probe() -> None:
        if not await tools.database.schema_is_current():
            raise StoreUnavailable("the schema is not current: run `pop3-bridge migrate`")

    return probe


def _certificate_probe(tls: TlsContexts) -> Callable[[], Awaitable[None]]:
    async def probe() -> None:
        if tls.ends_at <= datetime.now(UTC):
            raise StoreUnavailable("the certificate has expired")

    return probe
