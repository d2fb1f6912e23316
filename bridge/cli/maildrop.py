"""`pop3-bridge maildrop`: what an account's login opens."""

from argparse import ArgumentParser, Namespace

from bridge.cli import session
from bridge.cli.context import CommandError, Context, Nouns, Tools, add_command, print_fields
from bridge.maildrop.sync import SyncReport
from bridge.settings import Settings

_EXAMPLES = """\
  pop3-bridge maildrop show alice@example.com
  pop3-bridge maildrop sync alice@example.com
  pop3-bridge maildrop unlock alice@example.com
"""


def add_parser(nouns: Nouns) -> None:
    maildrop = add_command(nouns, "maildrop", "maildrops: the mail behind an account", None, examples=_EXAMPLES)
    verbs = maildrop.add_subparsers(metavar="VERB", required=True)
    _add_name(add_command(verbs, "show", "show where its mail lies and what is indexed of it", _show))
    sync = add_command(verbs, "sync", "list its bucket now and index what is new", _sync)
    _add_name(sync)
    sync.add_argument(
        "--accept-loss",
        action="store_true",
        help="believe that messages are gone, however many: a sync that finds very many missing leaves them all",
    )
    _add_name(add_command(verbs, "unlock", "free a maildrop whose session hangs (as `session end`)", session.end))


def _add_name(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="login name of an account that opens it")


def _show(context: Context, arguments: Namespace) -> int:
    async def work(tools: Tools, settings: Settings) -> int:
        account = await tools.provisioning.find(arguments.name)
        maildrop = await tools.index.maildrop(account.maildrop_id)
        snapshot = await tools.index.load_snapshot(account.maildrop_id)
        fields: list[tuple[str, object]] = [
            ("maildrop", maildrop.maildrop_id),
            ("mail in", f"{maildrop.bucket}/{maildrop.key_prefix}"),
            ("layout", maildrop.layout),
            ("history", maildrop.history),
            ("lock policy", maildrop.lock_policy),
            ("removal policy", maildrop.removal_policy),
            ("listed whole", "yes" if maildrop.is_indexed else "not yet: `pop3-bridge maildrop sync` does it now"),
            ("messages", snapshot.count),
            ("octets", snapshot.total_octets),
        ]
        print_fields(fields)
        return 0

    return context.with_tools(work)


def _sync(context: Context, arguments: Namespace) -> int:
    async def work(tools: Tools, settings: Settings) -> int:
        account = await tools.provisioning.find(arguments.name)
        if arguments.accept_loss:
            report: SyncReport | None = await tools.syncer.accept_loss(account.maildrop_id)
        else:
            report = await tools.syncer.sync(account.maildrop_id, budget_s=settings.sync.timeout_s)
        if report is None:
            raise CommandError(f"not done within {settings.sync.timeout_s:g} s; what is indexed stays: start it again")
        _print_report(report)
        if report.held_count:
            raise CommandError(
                f"{report.held_count} messages are not in the bucket any more, too many to believe; they are still "
                "shown. Check bucket, prefix and credentials; if they really are gone: --accept-loss"
            )
        if not report.is_complete:
            raise CommandError("not all of it could be indexed: start it again; the log says what failed")
        return 0

    return context.with_tools(work)


def _print_report(report: SyncReport) -> None:
    fields: list[tuple[str, object]] = [
        ("messages listed", report.listed_count),
        ("messages added", report.added_count),
        ("refreshed", report.refreshed_count),
        ("vanished", report.vanished_count),
        ("unreadable", report.unreadable_count),
        *((f"skipped, {reason}", count) for reason, count in report.skipped.items()),
    ]
    print_fields(fields)
