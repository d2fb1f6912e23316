"""`pop3-bridge check`: try every part, and say in plain words what is wrong and what to change."""

import asyncio
from argparse import Namespace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from bridge.cli.certificate import CertificateProblem, examine_certificate
from bridge.cli.context import Context, DatabaseProbe, Nouns, Tools, add_command, print_fields, printable
from bridge.maildrop.errors import MaildropError, ObjectChanged, ObjectUnreadable, StoreUnavailable
from bridge.maildrop.layouts import OWN_FOLDER
from bridge.maildrop.model import DeleteResult
from bridge.maildrop.ports import ObjectStore
from bridge.postgres.migrate import MigrationError
from bridge.settings import Settings
from bridge.settings.environment import in_words, masked, variables
from bridge.settings.model import TlsSettings

_PART_TIMEOUT_S = 60.0
_RENEWAL_IS_LATE = timedelta(days=14)
_PROBE = b"Written by `pop3-bridge check`; may be deleted.\r\n"

_EXAMPLES = """\
  pop3-bridge check
  pop3-bridge check --bucket other-bucket
"""


def add_parser(nouns: Nouns) -> None:
    check = add_command(
        nouns,
        "check",
        "try the settings, Postgres, S3 and the certificate; says what to change",
        _check,
        examples=_EXAMPLES,
    )
    check.add_argument("--bucket", help="the bucket to try (default: BRIDGE_S3__BUCKET)")


class _Findings:
    """Prints one line for each finding, and remembers whether all is well."""

    def __init__(self) -> None:
        self.are_good = True

    def ok(self, words: str) -> None:
        print(f"ok      {printable(words)}")

    def note(self, words: str) -> None:
        print(f"note    {printable(words)}")

    def failed(self, words: str) -> None:
        print(f"FAILED  {printable(words)}")
        self.are_good = False


def _check(context: Context, arguments: Namespace) -> int:
    async def work(tools: Tools, settings: Settings) -> int:
        await _check_postgres(tools.database, findings)
        bucket = arguments.bucket or settings.s3.bucket
        if bucket:
            await _check_bucket(tools.store, bucket, findings)
        else:
            findings.note("S3 was not tried: give --bucket, or set BRIDGE_S3__BUCKET")
        return 0 if findings.are_good else 1

    findings = _Findings()
    settings = context.settings()
    _print_settings(settings)
    for problem in settings.serving_problems():
        findings.failed(problem)
    _check_certificate(settings.tls, findings)
    return context.with_tools(work)


def _print_settings(settings: Settings) -> None:
    shown = masked(settings)
    fields: list[tuple[str, object]] = [
        (variable.name, shown[variable.name])
        for variable in variables()
        if variable.field.is_required() or in_words(variable.field.default) != shown[variable.name]
    ]
    print_fields(fields)
    print(f"all {len(shown) - len(fields)} other settings are at their defaults; `pop3-bridge settings` lists them\n")


def _check_certificate(tls: TlsSettings, findings: _Findings) -> None:
    if tls.certificate_file is None or tls.key_file is None:
        findings.note("no certificate: neither POP3S nor STLS is offered")
        return
    try:
        certificate = examine_certificate(tls.certificate_file, tls.key_file)
    except CertificateProblem as problem:
        findings.failed(f"certificate: {problem}")
        return
    left = certificate.ends_at - datetime.now(UTC)
    findings.ok(f"certificate for {', '.join(certificate.names) or 'no name at all'}; ends in {left.days} days")
    if left < _RENEWAL_IS_LATE:
        findings.note("the certificate ends soon: renew it; new files are used without a restart")
    if not certificate.names:
        findings.note("the certificate has no subject alternative name: most mail programs will not accept it")


async def _check_postgres(database: DatabaseProbe, findings: _Findings) -> None:
    try:
        async with asyncio.timeout(_PART_TIMEOUT_S):
            if not await database.schema_is_current():
                findings.failed("Postgres answers, but its schema is not up to date: run `pop3-bridge migrate`")
                return
            if not await database.is_writable():
                findings.failed("Postgres takes no writes: let BRIDGE_POSTGRES__URL lead to the primary, not a replica")
                return
    except TimeoutError:
        findings.failed(f"Postgres did not answer within {_PART_TIMEOUT_S:g} s: see BRIDGE_POSTGRES__URL")
    except StoreUnavailable as error:
        findings.failed(f"Postgres does not answer ({error}): see host, user and password in BRIDGE_POSTGRES__URL")
    except MigrationError as error:
        findings.failed(f"Postgres: {error}")
    else:
        findings.ok("Postgres answers, takes writes, and its schema is up to date")


async def _check_bucket(store: ObjectStore, bucket: str, findings: _Findings) -> None:
    try:
        async with asyncio.timeout(_PART_TIMEOUT_S):
            await _try_bucket(store, bucket, findings)
    except TimeoutError:
        findings.failed(f"S3 did not answer within {_PART_TIMEOUT_S:g} s: see BRIDGE_S3__ENDPOINT_URL")
    except StoreUnavailable as error:
        findings.failed(
            f"S3 does not answer ({error}): see BRIDGE_S3__ENDPOINT_URL, BRIDGE_S3__REGION, the credentials"
        )


async def _try_bucket(store: ObjectStore, bucket: str, findings: _Findings) -> None:
    """With an object of our own, in a folder that is never taken for mail."""
    key = f"{OWN_FOLDER}/check/{uuid4()}"
    try:
        async for _ in store.list_objects(bucket, f"{OWN_FOLDER}/check/"):
            pass
    except ObjectUnreadable as error:
        findings.failed(f"S3 does not list {bucket} ({error}): is it there, and is s3:ListBucket allowed on it?")
        return
    findings.ok(f"S3 lists {bucket}")
    try:
        ref = await store.put_object(bucket, key, _PROBE, {})
    except ObjectUnreadable as error:
        findings.note(
            f"S3 takes no objects from us ({error}), so reading and deleting were not tried. Serving needs "
            "s3:GetObject and s3:DeleteObject; s3:PutObject is for this check and for imports"
        )
        return
    try:
        await _try_reading(store, bucket, key, ref.etag, findings)
    finally:
        outcome = (await store.delete_objects([ref]))[0]
    if outcome.result is not DeleteResult.GONE or await store.describe_object(bucket, key) is not None:
        findings.failed(f"S3 does not delete {bucket}/{key} ({outcome.error}): is s3:DeleteObject allowed?")
    else:
        findings.ok("S3 deletes objects")


async def _try_reading(store: ObjectStore, bucket: str, key: str, etag: str, findings: _Findings) -> None:
    try:
        async with store.open_object(bucket, key, etag=etag) as body:
            read = b"".join([chunk async for chunk in body.chunks(65_536)])
    except MaildropError as error:
        findings.failed(f"S3 does not give back what was written ({error}): is s3:GetObject allowed?")
        return
    if read != _PROBE:
        findings.failed(f"S3 gave back {len(read)} other octets than the {len(_PROBE)} that were written")
        return
    findings.ok("S3 takes objects and gives them back")
    try:
        async with store.open_object(bucket, key, etag="0" * 32):
            findings.note(
                "S3 ignores If-Match: a message that is overwritten in place is noticed later than it could be"
            )
    except ObjectChanged:
        findings.ok("S3 honours If-Match")
