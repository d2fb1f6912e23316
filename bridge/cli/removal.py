"""`pop3-bridge removal`: deletes that clients asked for and S3 has not done yet."""

from argparse import Namespace

from bridge.cli.context import Context, Nouns, Tools, add_command
from bridge.settings import Settings


def add_parser(nouns: Nouns) -> None:
    removal = add_command(nouns, "removal", "removals: deletes that S3 has not done yet", None)
    verbs = removal.add_subparsers(metavar="VERB", required=True)
    add_command(verbs, "show", "show how many are due, and for how long", _show)


def _show(context: Context, arguments: Namespace) -> int:
    async def work(tools: Tools, settings: Settings) -> int:
        backlog = await tools.outbox.backlog()
        print(f"due:    {backlog.due_count}")
        if backlog.due_count:
            print(f"oldest: {backlog.oldest_age_s:.0f} s ago")
        return 0

    return context.with_tools(work)
