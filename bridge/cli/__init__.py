"""The command line: one file per noun.

May import: everything but server. Speaks in plain words: one line on standard error for what went wrong and what to do.
"""

import argparse
import getpass
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from bridge import __version__
from bridge.accounts.ports import AccountError, AccountsUnavailable, LoginNameTaken
from bridge.cli import account, check, dev, maildrop, migrate, removal, serve, session, settings
from bridge.cli.context import CommandError, Context, Migrated, Tools
from bridge.maildrop.errors import MaildropError, StoreUnavailable
from bridge.settings import Settings, SettingsError

_NOUNS = (dev, serve, migrate, check, settings, account, maildrop, session, removal)

_DESCRIPTION = "POP3 and POP3S for mail in S3, with its memory in Postgres."
_EPILOG = """\
examples:
  pop3-bridge migrate && pop3-bridge check
  pop3-bridge account add alice@example.com --generate

Settings are environment variables that begin with BRIDGE_; `pop3-bridge settings` lists them.
Exit codes: 0 done, 1 failed, 2 wrong usage.
"""


def main(argv: Sequence[str] | None = None, context: Context | None = None) -> int:
    """Run one command and give its exit code: 0 done, 1 failed, 2 wrong usage."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as exit_:  # argparse has printed its help or its complaint
        return exit_.code if isinstance(exit_.code, int) else 2
    try:
        code: int = arguments.run(context or _real_context(), arguments)
        sys.stdout.flush()
        return code
    except SettingsError as error:
        return _complain(*error.problems)
    except (AccountsUnavailable, StoreUnavailable) as error:
        return _complain(f"a store does not answer ({error}); `pop3-bridge check` tries every part")
    except LoginNameTaken as error:
        return _complain(f"there is an account {error} already; `pop3-bridge account passwd` sets its password")
    except (CommandError, AccountError, MaildropError) as error:
        return _complain(str(error))
    except BrokenPipeError:  # the reader of our output has enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (KeyboardInterrupt, EOFError):  # Ctrl-C, and Ctrl-D where something was asked
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pop3-bridge",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pop3-bridge {__version__}")
    nouns = parser.add_subparsers(metavar="COMMAND", required=True)
    for noun in _NOUNS:
        noun.add_parser(nouns)
    return parser


def _real_context() -> Context:
    return Context(
        environment=os.environ,
        stdin=sys.stdin,
        ask_secret=getpass.getpass,
        open_tools=_open_tools,
        migrate=_migrate,
    )


# `compose` loads every library, so only what needs it waits for it: help and mistyped commands answer at once.
def _open_tools(settings: Settings) -> AbstractAsyncContextManager[Tools]:
    from bridge.compose import open_tools

    return open_tools(settings)


async def _migrate(settings: Settings) -> Migrated:
    from bridge.compose import migrate

    return await migrate(settings)


def _complain(*problems: str) -> int:
    for problem in problems:
        print(f"pop3-bridge: {problem}", file=sys.stderr)
    return 1
