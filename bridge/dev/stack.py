"""`pop3-bridge dev`: Postgres, an S3 server, an account with mail, and the bridge, on the loopback of one machine."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path

from bridge import compose
from bridge.accounts.ports import NoSuchAccount
from bridge.accounts.provisioning import MaildropWish
from bridge.dev.certificate import local_certificate
from bridge.dev.postgres import EmbeddedPostgres
from bridge.dev.seaweedfs import EmbeddedS3
from bridge.settings import Settings

LOGIN_NAME = "demo"
KEY_PREFIX = "demo/"
_POP3_PORT, _POP3S_PORT, _ADMIN_PORT = 1110, 1995, 8110


async def run(
    state_dir: Path, messages: Iterable[tuple[str, bytes]], stop: asyncio.Event, *, say: Callable[[str], None]
) -> None:
    """Start everything, serve until `stop` is set, and stop the children; their data stays in
    `state_dir`, which is there."""
    async with AsyncExitStack() as stack:
        say("Starting Postgres ...")
        postgres = await stack.enter_async_context(EmbeddedPostgres(state_dir / "postgres"))
        say("Starting an S3 server ...")
        s3 = await stack.enter_async_context(EmbeddedS3(state_dir / "s3"))
        certificate = local_certificate(state_dir)
        settings = Settings.model_validate(
            {
                "server": {
                    "host": "127.0.0.1",
                    "pop3_port": _POP3_PORT,
                    "pop3s_port": _POP3S_PORT,
                    "drain_accept_grace_s": 0,
                    "drain_idle_s": 0,
                    "drain_timeout_s": 5,
                },
                "tls": {"certificate_file": certificate.certificate_file, "key_file": certificate.key_file},
                "login": {"cleartext_networks": "127.0.0.0/8"},
                "postgres": {"url": postgres.url},
                "s3": {
                    "bucket": s3.bucket,
                    "endpoint_url": s3.endpoint_url,
                    "region": "us-east-1",
                    "path_style": True,
                    "access_key_id": s3.access_key_id,
                    "secret_access_key": s3.secret_access_key,
                },
                "admin": {"host": "127.0.0.1", "port": _ADMIN_PORT},
                "logs": {"level": "warning", "format": "text"},
            }
        )
        await compose.migrate(settings)
        password = await _prepare(settings, s3.bucket, state_dir, messages, say)
        ready = asyncio.Event()
        serving = asyncio.create_task(compose.run(settings, frozenset(compose.Role), stop, ready=ready))
        opening = asyncio.create_task(ready.wait())
        await asyncio.wait([serving, opening], return_when=asyncio.FIRST_COMPLETED)
        opening.cancel()
        if ready.is_set():
            say(_card(password, s3, state_dir))
        await serving
        say("Stopping ...")


async def _prepare(
    settings: Settings, bucket: str, state_dir: Path, messages: Iterable[tuple[str, bytes]], say: Callable[[str], None]
) -> str:
    """The account and its mail; mail that was loaded before is not loaded again. Gives the password."""
    password_file = state_dir / "demo-password"
    async with compose.open_tools(settings) as tools:
        try:
            await tools.provisioning.find(LOGIN_NAME)
            password = password_file.read_text()
        except (NoSuchAccount, FileNotFoundError):
            password = secrets.token_hex(6)
            with contextlib.suppress(NoSuchAccount):
                await tools.provisioning.remove(LOGIN_NAME)
            await tools.provisioning.add(LOGIN_NAME, password, MaildropWish(bucket=bucket, key_prefix=KEY_PREFIX))
            password_file.touch(mode=0o600)
            password_file.write_text(password)
        loaded_file = state_dir / "loaded"
        loaded = set(loaded_file.read_text().splitlines()) if loaded_file.exists() else set()
        count = 0
        with loaded_file.open("a") as done:
            for name, octets in messages:
                if name not in loaded:
                    await tools.store.put_object(bucket, KEY_PREFIX + name, octets, {})
                    done.write(name + "\n")
                    count += 1
        if count:
            say(f"Loaded {count} messages.")
    return password


def _card(password: str, s3: EmbeddedS3, state_dir: Path) -> str:
    return f"""
  pop3-bridge is ready.

    POP3 with STLS   127.0.0.1:{_POP3_PORT}
    POP3S            127.0.0.1:{_POP3S_PORT}      (self-signed certificate: {state_dir}/certificate.pem)
    health, metrics  http://127.0.0.1:{_ADMIN_PORT}/readyz  /metrics
    account          {LOGIN_NAME}
    password         {password}

  Try:
    curl -k --user {LOGIN_NAME}:{password} pop3s://127.0.0.1:{_POP3S_PORT}/
    curl -k --user {LOGIN_NAME}:{password} pop3s://127.0.0.1:{_POP3S_PORT}/1
    curl -k --ssl-reqd --user {LOGIN_NAME}:{password} pop3://127.0.0.1:{_POP3_PORT}/2

  Add mail: make run ARGS='--mail PATH' with a Maildir, an mbox file or a folder of .eml files; or put an object under
    s3://{s3.bucket}/{KEY_PREFIX} at {s3.endpoint_url} (keys in {state_dir}/s3).
  Stop: Ctrl-C. Data stays in {state_dir}.
"""
