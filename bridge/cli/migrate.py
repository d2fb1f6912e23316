"""`pop3-bridge migrate`: the database's schema."""

import asyncio
from argparse import Namespace

from bridge.cli.context import CommandError, Context, Nouns, add_command
from bridge.postgres.migrate import MigrationError


def add_parser(nouns: Nouns) -> None:
    add_command(nouns, "migrate", "bring the database's schema up to date; may run while replicas serve", _migrate)


def _migrate(context: Context, arguments: Namespace) -> int:
    async def run() -> int:
        try:
            report = await context.migrate(context.settings())
        except MigrationError as error:
            raise CommandError(str(error)) from error
        for name in report.applied:
            print(f"applied {name}")
        print(f"the schema is at version {report.version}" + ("" if report.applied else "; nothing was missing"))
        return 0

    return asyncio.run(run())
