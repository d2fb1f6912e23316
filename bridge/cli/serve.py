"""`pop3-bridge serve`: the server, until SIGTERM or Ctrl-C."""

import asyncio
import signal
from argparse import Namespace

import uvloop

from bridge.cli.context import CommandError, Context, Nouns, add_command
from bridge.settings import Settings
from bridge.telemetry.logs import configure_logging

_ROLES = ("pop3", "worker", "admin")
_EXAMPLES = """\
  pop3-bridge serve                  POP3, worker, health and metrics in one process
  pop3-bridge serve pop3             POP3 alone; run as many as you like
  pop3-bridge serve worker           removals and background listings alone
  pop3-bridge serve admin            health and metrics alone; the others have them too
"""


def add_parser(nouns: Nouns) -> None:
    parser = add_command(nouns, "serve", "serve POP3 until SIGTERM or Ctrl-C", _serve, examples=_EXAMPLES)
    parser.add_argument("roles", nargs="*", metavar="ROLE", help="pop3, worker or admin, several or (default) all")


def _serve(context: Context, arguments: Namespace) -> int:
    for role in arguments.roles:
        if role not in _ROLES:
            raise CommandError(f"there is no role {role}: choose from {', '.join(_ROLES)}")
    settings = context.settings()
    problems = settings.serving_problems()
    if problems and (not arguments.roles or "pop3" in arguments.roles):
        raise CommandError(problems[0])
    configure_logging(settings.logs.level, settings.logs.format)
    serve_until_signalled(settings, arguments.roles)
    return 0


def serve_until_signalled(settings: Settings, roles: list[str]) -> None:
    """Run on uvloop until SIGTERM or SIGINT; a second signal changes nothing, the drain has its limit."""
    from bridge import compose

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        wanted = frozenset(compose.Role(role) for role in roles) or frozenset(compose.Role)
        await compose.run(settings, wanted, stop, ready=asyncio.Event())

    try:
        uvloop.run(run())
    except compose.PortTaken as error:
        raise CommandError(str(error)) from error
    except compose.BackgroundWorkDied as error:
        raise CommandError(f"stopped, because background work ended by itself: {error}; the log says why") from error
    except compose.CertificateUnusable as error:
        raise CommandError(f"{error}: see BRIDGE_TLS__CERTIFICATE_FILE and BRIDGE_TLS__KEY_FILE") from error
