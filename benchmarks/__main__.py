"""Starts Postgres, an S3 server and one bridge process, runs each scenario, prints a table and writes JSON.

    python -m benchmarks [--full] [--json FILE] [--compare FILE]

Short form: about two minutes. The load generator runs on the same machine: take durations as an upper bound, and CPU
times of the bridge and of Postgres, which are counted apart, as the figures.
"""

import argparse
import asyncio
import json
import os
import platform
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import asyncpg

from benchmarks.processes import cpu_s, private_octets
from bridge import compose
from bridge.accounts.provisioning import MaildropWish
from bridge.dev.certificate import local_certificate
from bridge.dev.child import free_port
from bridge.dev.postgres import EmbeddedPostgres
from bridge.dev.seaweedfs import EmbeddedS3
from bridge.settings import load_settings
from tests.raw_client import RawClient

PASSWORD = "benchmark"
CRLF_LINE = b"x" * 74 + b"\r\n"


@dataclass(frozen=True)
class Result:
    scenario: str
    runs: int
    wall_ms: float  # median of one run
    bridge_cpu_ms: float  # of one run
    postgres_cpu_ms: float
    note: str = ""


class Bench:
    """What the scenarios work on."""

    def __init__(self, *, port: int, tls_port: int, tls: ssl.SSLContext, bridge_pid: int, postgres_pid: int) -> None:
        self.port, self.tls_port, self.tls = port, tls_port, tls
        self.bridge_pid, self.postgres_pid = bridge_pid, postgres_pid

    def client(self, *, tls: bool = False) -> RawClient:
        return RawClient(self.tls_port, tls=self.tls) if tls else RawClient(self.port)

    def measure(self, scenario: str, run: Callable[[], object], *, runs: int, warm: int = 2, note: str = "") -> Result:
        for _ in range(warm):
            run()
        time.sleep(0.3)
        before = cpu_s(self.bridge_pid), cpu_s(self.postgres_pid)
        walls = []
        for _ in range(runs):
            began = time.perf_counter()
            run()
            walls.append(time.perf_counter() - began)
        time.sleep(0.3)
        bridge, postgres = cpu_s(self.bridge_pid) - before[0], cpu_s(self.postgres_pid) - before[1]
        return Result(scenario, runs, statistics.median(walls) * 1e3, bridge / runs * 1e3, postgres / runs * 1e3, note)


def scenarios(bench: Bench, *, is_full: bool) -> Iterator[Result]:
    times = 4 if is_full else 1

    def poll(*, tls: bool) -> None:
        with bench.client(tls=tls) as client:
            client.login("poll", PASSWORD)
            client.ok("STAT")
            client.ok("QUIT")

    def session() -> None:
        with bench.client() as client:
            client.login("twenty", PASSWORD)
            client.ok("STAT")
            for command in ("UIDL", "LIST"):
                client.ok(command)
                client.body()
            for number in range(1, 21):
                client.retrieve(number)
            client.ok("QUIT")

    def big(name: str, *, tls: bool) -> Callable[[], None]:
        def run() -> None:
            with bench.client(tls=tls) as client:
                client.login(name, PASSWORD)
                client.ok("RETR 1")
                client.octets(49_000_000)
                client.ok("QUIT")

        return run

    def listing(name: str) -> Callable[[], None]:
        def run() -> None:
            with bench.client() as client:
                client.login(name, PASSWORD)
                client.ok("STAT")
                for command in ("UIDL", "LIST"):
                    client.ok(command)
                    client.body()
                client.ok("QUIT")

        return run

    yield bench.measure("empty poll: USER PASS STAT QUIT", lambda: poll(tls=False), runs=500 * times, warm=20)
    yield bench.measure("the same over TLS", lambda: poll(tls=True), runs=300 * times, warm=20)
    yield bench.measure("session: STAT UIDL LIST, RETR 20 of 39 KB", session, runs=100 * times)
    for name, tls, what in (
        ("crlf", False, "canonical, clear"),
        ("crlf", True, "canonical, TLS"),
        ("lf", False, "bare LF, clear"),
        ("lf", True, "bare LF, TLS"),
    ):
        found = bench.measure(f"RETR of 50 MB, {what}", big(name, tls=tls), runs=4 * times, warm=1)
        yield Result(**{**asdict(found), "note": f"{found.bridge_cpu_ms / 50:.2f} CPU s per GB"})
    before = private_octets(bench.bridge_pid)
    first = bench.measure("first login to 100,000 messages, to the end of LIST", listing("list100000"), runs=1, warm=0)
    grown = private_octets(bench.bridge_pid) - before
    yield Result(**{**asdict(first), "note": f"{grown / 1e6:.1f} MB more memory"})
    for count in (10_000, 100_000):
        yield bench.measure(f"STAT UIDL LIST of {count:,} kept messages", listing(f"list{count}"), runs=10 * times)
    yield idle(bench, tls=False)
    yield idle(bench, tls=True)


def idle(bench: Bench, *, tls: bool) -> Result:
    """Memory of sessions that are logged in and silent."""
    count = 100
    before = private_octets(bench.bridge_pid)
    clients = []
    for number in range(count):
        client = bench.client(tls=tls)
        client.login(f"idle{number}", PASSWORD)
        clients.append(client)
    grown = private_octets(bench.bridge_pid) - before
    for client in clients:
        client.ok("QUIT")
        client.close()
    kind = "TLS" if tls else "clear"
    return Result(f"{count} idle sessions, {kind}", 1, 0, 0, 0, f"{grown / count / 1000:.0f} KB each")


async def fill(environment: dict[str, str], database_url: str) -> None:
    """Accounts and mail. Large drops are written to the index alone: their messages are listed, not read."""
    settings = load_settings(environment)
    await compose.migrate(settings)
    bucket = str(settings.s3.bucket)
    async with compose.open_tools(settings) as tools:

        async def add(name: str, messages: list[bytes]) -> None:
            account = await tools.provisioning.add(name, PASSWORD, MaildropWish(bucket=bucket))
            for number, octets in enumerate(messages):
                await tools.store.put_object(bucket, f"{name}/{number:03}.eml", octets, {})
            await tools.syncer.sync(account.maildrop_id, budget_s=300)

        await add("poll", [b"Subject: a\r\n\r\nb\r\n"])
        await add("twenty", [b"Subject: a\r\n\r\n" + CRLF_LINE * 513] * 20)
        crlf = b"Subject: a\r\n\r\n" + CRLF_LINE * (50_000_000 // len(CRLF_LINE))
        await add("crlf", [crlf])
        await add("lf", [crlf.replace(b"\r\n", b"\n")])
        for number in range(100):
            await add(f"idle{number}", [])
        connection = await asyncpg.connect(database_url)
        for count in (10_000, 100_000):
            name = f"list{count}"
            account = await tools.provisioning.add(name, PASSWORD, MaildropWish(bucket=bucket))
            await connection.execute(
                """
                INSERT INTO message (maildrop_id, identity, object_key, etag, stored_octets, encoding, uidl, octets,
                    header_octets, text_octets, text_header_octets, is_canonical, has_dot_lines, has_utf8_headers,
                    digest, arrived_at)
                SELECT $1, 'm' || n, $2 || 'm' || n, md5(n::text), 700, 'identity', left(md5(n::text), 26), 700,
                    100, 700, 100, true, false, false, sha256(n::text::bytea),
                    timestamptz '2026-01-01' + n * interval '1 second'
                FROM generate_series(1, $3::int) AS n
                """,
                account.maildrop_id,
                f"{name}/",
                count,
            )
            await connection.execute(
                "UPDATE maildrop SET synced_at = clock_timestamp(), index_version = 1 WHERE maildrop_id = $1",
                account.maildrop_id,
            )
        await connection.execute("ANALYZE")
        await connection.close()


async def run(arguments: argparse.Namespace) -> list[Result]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pop3-bridge-bench-")))
        postgres = await stack.enter_async_context(EmbeddedPostgres(folder / "postgres", fast=True))
        s3 = await stack.enter_async_context(EmbeddedS3(folder / "s3"))
        certificate = local_certificate(folder)
        port, tls_port, admin_port = free_port(), free_port(), free_port()
        environment = {
            "BRIDGE_SERVER__HOST": "127.0.0.1",
            "BRIDGE_SERVER__POP3_PORT": str(port),
            "BRIDGE_SERVER__POP3S_PORT": str(tls_port),
            "BRIDGE_TLS__CERTIFICATE_FILE": str(certificate.certificate_file),
            "BRIDGE_TLS__KEY_FILE": str(certificate.key_file),
            "BRIDGE_LOGIN__CLEARTEXT_NETWORKS": "127.0.0.0/8",
            "BRIDGE_LOGIN__VERIFIED_PASSWORD_LIFETIME_S": "3600",
            "BRIDGE_SYNC__MIN_INTERVAL_S": "100000",
            "BRIDGE_ADMIN__HOST": "127.0.0.1",
            "BRIDGE_ADMIN__PORT": str(admin_port),
            "BRIDGE_POSTGRES__URL": postgres.url,
            "BRIDGE_S3__BUCKET": s3.bucket,
            "BRIDGE_S3__ENDPOINT_URL": s3.endpoint_url,
            "BRIDGE_S3__REGION": "us-east-1",
            "BRIDGE_S3__PATH_STYLE": "true",
            "BRIDGE_S3__ACCESS_KEY_ID": s3.access_key_id,
            "BRIDGE_S3__SECRET_ACCESS_KEY": s3.secret_access_key,
            "BRIDGE_LOGS__LEVEL": "warning",
        }
        print("Filling ...", file=sys.stderr)
        await fill(environment, postgres.url)
        bridge = subprocess.Popen([sys.executable, "-m", "bridge", "serve", "pop3"], env={**os.environ, **environment})
        stack.callback(bridge.wait, 60)
        stack.callback(bridge.terminate)
        await _ready(admin_port)
        postmaster = int((folder / "postgres" / "data" / "postmaster.pid").read_text().split()[0])
        tls = ssl.create_default_context(cafile=str(certificate.certificate_file))
        bench = Bench(
            port=port,
            tls_port=tls_port,
            tls=tls,
            bridge_pid=bridge.pid,
            postgres_pid=postmaster,
        )
        results = []
        for result in scenarios(bench, is_full=arguments.full):
            results.append(result)
            print(_row(result), file=sys.stderr, flush=True)
        return results


async def _ready(port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                    return
            except OSError:
                await asyncio.sleep(0.05)


def _row(result: Result) -> str:
    return (
        f"| {result.scenario} | {result.wall_ms:.2f} | {result.bridge_cpu_ms:.2f} | {result.postgres_cpu_ms:.2f} "
        f"| {result.note} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--full", action="store_true", help="four times as many runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="show ratios to the figures of an earlier run")
    arguments = parser.parse_args()
    results = asyncio.run(run(arguments))
    print(f"\n{date.today()}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| scenario | wall ms | bridge CPU ms | Postgres CPU ms | |\n|---|---|---|---|---|")
    for result in results:
        print(_row(result))
    if arguments.compare:
        earlier = {one["scenario"]: one for one in json.loads(arguments.compare.read_text())}
        print("\n| scenario | bridge CPU, ratio to then |\n|---|---|")
        for result in results:
            if (then := earlier.get(result.scenario)) and then["bridge_cpu_ms"]:
                print(f"| {result.scenario} | {result.bridge_cpu_ms / then['bridge_cpu_ms']:.2f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(result) for result in results], indent=1) + "\n")


main()
