"""What every command is given, and what it may use: all of it can be replaced by a test."""

import asyncio
from argparse import ArgumentParser, RawDescriptionHelpFormatter, _SubParsersAction
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TextIO, TypeAlias

from bridge.accounts.ports import AccountStore
from bridge.accounts.provisioning import Provisioning
from bridge.maildrop.ports import LeaseStore, MessageIndex, ObjectStore, RemovalOutbox
from bridge.maildrop.sync import Syncer
from bridge.settings import Settings, load_settings

Nouns: TypeAlias = "_SubParsersAction[ArgumentParser]"


class CommandError(Exception):
    """A command cannot do what it was asked; the message says in one line what to do."""


class DatabaseProbe(Protocol):
    """Both raise StoreUnavailable."""

    async def schema_is_current(self) -> bool:
        """Whether all migrations of this release are applied."""

    async def is_writable(self) -> bool:
        """Whether this is a primary that takes writes."""


class Tools(Protocol):
    """Rooms wired for commands instead of sessions."""

    @property
    def provisioning(self) -> Provisioning: ...
    @property
    def accounts(self) -> AccountStore: ...
    @property
    def index(self) -> MessageIndex: ...
    @property
    def leases(self) -> LeaseStore: ...
    @property
    def outbox(self) -> RemovalOutbox: ...
    @property
    def syncer(self) -> Syncer: ...
    @property
    def store(self) -> ObjectStore: ...
    @property
    def database(self) -> DatabaseProbe: ...


class Migrated(Protocol):
    @property
    def applied(self) -> tuple[str, ...]:
        """Names of the migrations that were applied now."""

    @property
    def version(self) -> int:
        """Of the schema afterwards."""


@dataclass(frozen=True, slots=True)
class Context:
    environment: Mapping[str, str]
    stdin: TextIO
    ask_secret: Callable[[str], str]  # shows the words, reads without echo
    open_tools: Callable[[Settings], AbstractAsyncContextManager[Tools]]
    migrate: Callable[[Settings], Awaitable[Migrated]]

    def settings(self) -> Settings:
        """Raises SettingsError."""
        return load_settings(self.environment)

    def with_tools(self, work: Callable[[Tools, Settings], Awaitable[int]]) -> int:
        """Run `work` on an event loop of its own, with tools that are closed behind it."""
        settings = self.settings()

        async def run() -> int:
            async with self.open_tools(settings) as tools:
                return await work(tools, settings)

        return asyncio.run(run())


def add_command(
    commands: Nouns, name: str, summary: str, run: Callable[..., int] | None, *, examples: str = ""
) -> ArgumentParser:
    """A parser for one word of the command line; `run(context, arguments)` gives the exit code."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[:1].upper() + summary[1:] + ".",
        epilog=f"examples:\n{examples}" if examples else None,
        formatter_class=RawDescriptionHelpFormatter,
    )
    if run is not None:
        parser.set_defaults(run=run)
    return parser


def print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    cells = [list(head), *([printable(str(cell)) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_fields(fields: Sequence[tuple[str, object]]) -> None:
    width = max(len(name) for name, _ in fields) + 2
    for name, value in fields:
        print(f"{name + ':':{width}}{printable(str(value))}".rstrip())


def printable(text: str) -> str:
    """Without characters that would steer a terminal: keys and errors are written by others."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
