"""`pop3-bridge dev`: Postgres, an S3 server, an account with mail, and the bridge, on the loopback of one machine."""

import asyncio
import contextlib
import hashlib
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from bridge import compose
from bridge.accounts.ports import NoSuchAccount
from bridge.accounts.provisioning import MaildropWish
from bridge.dev.certificate import local_certificate
from bridge.dev.postgres import EmbeddedPostgres
from bridge.dev.seaweedfs import EmbeddedS3
from bridge.settings import Settings, load_settings

SAMPLES_LOGIN_NAME = "demo"
OWN_LOGIN_NAME = "mine"  # whose mail is what `--mail` names
_DEFAULTS = {
    "BRIDGE_SERVER__HOST": "127.0.0.1",
    "BRIDGE_SERVER__DRAIN_ACCEPT_GRACE_S": "0",
    "BRIDGE_SERVER__DRAIN_IDLE_S": "0",
    "BRIDGE_SERVER__DRAIN_TIMEOUT_S": "5",
    "BRIDGE_LOGIN__CLEARTEXT_NETWORKS": "127.0.0.0/8",
    "BRIDGE_ADMIN__HOST": "127.0.0.1",
}


async def run(
    state_dir: Path,
    login_name: str,
    messages: Iterable[bytes],
    environment: Mapping[str, str],
    stop: asyncio.Event,
    *,
    say: Callable[[str], None],
) -> None:
    """Start everything, serve until `stop` is set, and stop the children; their data stays in
    `state_dir`, which is there."""
    async with AsyncExitStack() as stack:
        say("Starting Postgres ...")
        postgres = await stack.enter_async_context(EmbeddedPostgres(state_dir / "postgres"))
        say("Starting an S3 server ...")
        s3 = await stack.enter_async_context(EmbeddedS3(state_dir / "s3"))
        certificate = local_certificate(state_dir)
        settings = load_settings(
            {
                **_DEFAULTS,
                **{name: value for name, value in environment.items() if name.startswith("BRIDGE_")},
                "BRIDGE_TLS__CERTIFICATE_FILE": str(certificate.certificate_file),
                "BRIDGE_TLS__KEY_FILE": str(certificate.key_file),
                "BRIDGE_POSTGRES__URL": postgres.url,
                "BRIDGE_S3__BUCKET": s3.bucket,
                "BRIDGE_S3__ENDPOINT_URL": s3.endpoint_url,
                "BRIDGE_S3__REGION": "us-east-1",
                "BRIDGE_S3__PATH_STYLE": "true",
                "BRIDGE_S3__ACCESS_KEY_ID": s3.access_key_id,
                "BRIDGE_S3__SECRET_ACCESS_KEY": s3.secret_access_key,
            }
        )
        await compose.migrate(settings)
        password = await _prepare(settings, login_name, state_dir, messages, say)
        ready = asyncio.Event()
        serving = asyncio.create_task(compose.run(settings, frozenset(compose.Role), stop, ready=ready))
        opening = asyncio.create_task(ready.wait())
        await asyncio.wait([serving, opening], return_when=asyncio.FIRST_COMPLETED)
        opening.cancel()
        if ready.is_set():
            say(_card(login_name, password, settings, s3, state_dir))
        await serving
        say("Stopping ...")


async def _prepare(
    settings: Settings,
    login_name: str,
    state_dir: Path,
    messages: Iterable[bytes],
    say: Callable[[str], None],
) -> str:
    """The account and its mail; mail that was loaded before is not loaded again. Gives the password."""
    password_file = state_dir / f"{login_name}.password"
    bucket, key_prefix = str(settings.s3.bucket), f"{login_name}/"
    async with compose.open_tools(settings) as tools:
        try:
            await tools.provisioning.find(login_name)
            password = password_file.read_text()
        except (NoSuchAccount, FileNotFoundError):
            password = secrets.token_hex(6)
            with contextlib.suppress(NoSuchAccount):
                await tools.provisioning.remove(login_name)
            await tools.provisioning.add(login_name, password, MaildropWish(bucket=bucket))
            password_file.touch(mode=0o600)
            password_file.write_text(password)
        loaded_file = state_dir / f"{login_name}.loaded"
        loaded = set(loaded_file.read_text().splitlines()) if loaded_file.exists() else set()
        count = known_count = 0
        copies: Counter[str] = Counter()
        with loaded_file.open("a") as done:
            for octets in messages:
                # Named by content, so that mail whose file was renamed (as flags do in a Maildir) is not loaded twice.
                digest = hashlib.sha256(octets).hexdigest()[:32]
                copies[digest] += 1
                name = f"{digest}-{copies[digest]}.eml"
                if name in loaded:
                    known_count += 1
                    continue
                await tools.store.put_object(bucket, key_prefix + name, octets, {})
                done.write(name + "\n")
                count += 1
        if count:
            say(f"Loaded {count} messages" + (f"; {known_count} were loaded before." if known_count else "."))
    return password


def _card(login_name: str, password: str, settings: Settings, s3: EmbeddedS3, state_dir: Path) -> str:
    pop3_port, pop3s_port = settings.server.pop3_port, settings.server.pop3s_port
    return f"""
  pop3-bridge is ready.

    POP3 with STLS   127.0.0.1:{pop3_port}
    POP3S            127.0.0.1:{pop3s_port}      (self-signed certificate: {state_dir}/certificate.pem)
    health, metrics  http://127.0.0.1:{settings.admin.port}/readyz  /metrics
    account          {login_name}
    password         {password}

  Try:
    curl -k --user {login_name}:{password} pop3s://127.0.0.1:{pop3s_port}/
    curl -k --user {login_name}:{password} pop3s://127.0.0.1:{pop3s_port}/1
    curl -k --ssl-reqd --user {login_name}:{password} pop3://127.0.0.1:{pop3_port}/2

  Over 127.0.0.1 a password may also come in clear, as old programs send it: elsewhere it needs TLS.
  Add mail of yours: make run ARGS='--mail PATH', with a Maildir, an mbox file or a folder of .eml files; it is copied
    into the account {OWN_LOGIN_NAME}. Or put objects under s3://{s3.bucket}/{login_name}/ at {s3.endpoint_url}
    (the keys are in {state_dir}/s3/credentials.json).
  Other ports: BRIDGE_SERVER__POP3_PORT, BRIDGE_SERVER__POP3S_PORT, BRIDGE_ADMIN__PORT.
  Stop: Ctrl-C. Data stays in {state_dir}.
"""
