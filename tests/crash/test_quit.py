"""kill -9 at every step of QUIT: nothing unmarked is lost, nothing removed comes back, nothing stays half done."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from bridge import compose
from bridge.accounts.model import Account
from bridge.accounts.provisioning import MaildropWish
from bridge.maildrop.removing import RemovalWorker
from bridge.settings import load_settings
from tests.raw_client import RawClient
from tests.service import PASSWORD, START_LIMIT_S, Bucket, free_port


class Zygote:
    def __init__(self, environment: dict[str, str], log_file: Path) -> None:
        self.port = free_port()
        self.environment = {
            **environment,
            "BRIDGE_SERVER__HOST": "127.0.0.1",
            "BRIDGE_SERVER__POP3_PORT": str(self.port),
            "BRIDGE_SERVER__POP3S_PORT": "0",
            "BRIDGE_ADMIN__HOST": "127.0.0.1",
            "BRIDGE_ADMIN__PORT": "0",
        }
        self._log = log_file.open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **environment},
        )

    @contextmanager
    def serving(self, *, die_at: list[object] | None, record_to: Path | None = None) -> Iterator[int]:
        """A child that serves; killed at the end, if it did not do that itself. Yields its pid."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"environment": self.environment, "die_at": die_at, "record_to": str(record_to) if record_to else None}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        pid = int(self._process.stdout.readline())
        try:
            yield pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            assert int(self._process.stdout.readline()) == signal.SIGKILL

    def client(self) -> RawClient:
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            try:
                return RawClient(self.port)
            except ConnectionError:
                assert time.monotonic() < deadline, "the child does not serve"
                time.sleep(0.01)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(START_LIMIT_S)
        self._process.stdout.close()  # type: ignore[union-attr]
        self._log.close()


def quit_with_a_mark(zygote: Zygote, name: str) -> tuple[list[str], bytes]:
    """Mark the second message and QUIT; the UIDLs seen, and the reply, b"" when the connection broke first."""
    with zygote.client() as client:
        client.login(name, PASSWORD)
        client.ok("UIDL")
        uidls = [line.split()[1].decode() for line in client.body().splitlines()]
        client.ok("DELE 2")
        try:
            return uidls, client.command("QUIT")
        except ConnectionError:
            return uidls, b""


async def test_a_kill_at_any_step_of_quit_leaves_nothing_half_done(
    environment: dict[str, str], bucket: Bucket, database_url: str, tmp_path: Path
) -> None:
    keys = {
        "BRIDGE_S3__ACCESS_KEY_ID": environment["AWS_ACCESS_KEY_ID"],
        "BRIDGE_S3__SECRET_ACCESS_KEY": environment["AWS_SECRET_ACCESS_KEY"],
    }
    settings = load_settings({**environment, **keys})
    zygote = Zygote(environment, tmp_path / "zygote.log")
    outcomes: Counter[str] = Counter()
    async with compose.open_tools(settings) as tools:
        worker = RemovalWorker(
            tools.outbox, tools.store, tools.syncer, claim_duration_s=60, first_retry_delay_s=1, max_retry_delay_s=1
        )
        connection = await asyncpg.connect(database_url)

        async def make(name: str) -> Account:
            for number in (1, 2, 3):
                bucket.put(f"{name}/{number}.eml", b"Subject: %d\r\n\r\n%s\r\n" % (number, name.encode()))
            return await tools.provisioning.add(name, PASSWORD, MaildropWish(bucket=bucket.name))

        async def judge(account: Account, uidls: list[str], reply: bytes) -> str:
            """What a kill left, after the lease ran out and the worker ran once."""
            await connection.execute("UPDATE view SET lease_expires_at = clock_timestamp() - interval '1 second'")
            await connection.execute("UPDATE removal SET claimed_until = NULL WHERE confirmed_at IS NULL")
            await worker.run_once()
            keys = bucket.keys(account.login_name)
            report = await tools.syncer.sync(account.maildrop_id, budget_s=30)
            assert report is not None
            assert report.is_complete
            snapshot = await tools.index.load_snapshot(account.maildrop_id)
            shown = [snapshot.uidl(number) for number in range(1, snapshot.count + 1)]
            open_removals = await connection.fetchval(
                "SELECT count(*) FROM removal WHERE maildrop_id = $1 AND confirmed_at IS NULL", account.maildrop_id
            )
            assert open_removals == 0
            if shown == uidls:
                assert keys == [f"{account.login_name}/{number}.eml" for number in (1, 2, 3)]
                assert not reply.startswith(b"+OK"), "a +OK before the commit"
                return "nothing removed"
            assert shown == [uidls[0], uidls[2]]
            assert keys == [f"{account.login_name}/{number}.eml" for number in (1, 3)]
            return "removed"

        try:
            # The session is played once to find the steps, as the code runs today.
            account = await make("pilot")
            steps_file = tmp_path / "steps"
            with zygote.serving(die_at=None, record_to=steps_file):
                uidls, reply = quit_with_a_mark(zygote, "pilot")
            assert reply.startswith(b"+OK")
            assert await judge(account, uidls, reply) == "removed"
            steps = [json.loads(line) for line in steps_file.read_text().splitlines()]

            for number, step in enumerate(steps):
                account = await make(f"user{number}")
                with zygote.serving(die_at=step):
                    uidls, reply = quit_with_a_mark(zygote, account.login_name)
                outcomes[await judge(account, uidls, reply)] += 1
        finally:
            await connection.close()
            zygote.close()
    print(f"{len(steps)} steps: {dict(outcomes)}")
    assert outcomes["nothing removed"] >= 3
    assert outcomes["removed"] >= 3
