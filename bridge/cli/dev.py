"""`pop3-bridge dev`: everything on this machine, to try it."""

import asyncio
import signal
from argparse import Namespace
from pathlib import Path

import uvloop

from bridge.cli.context import CommandError, Context, Nouns, add_command
from bridge.telemetry.logs import configure_logging


def add_parser(nouns: Nouns) -> None:
    parser = add_command(
        nouns,
        "dev",
        "run Postgres, an S3 server and pop3-bridge on this machine, with sample mail",
        _dev,
        examples="  pop3-bridge dev\n  pop3-bridge dev --mail ~/Maildir\n",
    )
    parser.add_argument(
        "--mail",
        type=Path,
        metavar="PATH",
        help="serve a copy of this: a Maildir, an mbox file or a folder of .eml files",
    )
    parser.add_argument(
        "--state", type=Path, default=Path(".state"), metavar="FOLDER", help="where all data is kept (default: .state)"
    )


def _dev(context: Context, arguments: Namespace) -> int:
    try:
        from bridge.dev import seed, stack
        from bridge.dev.child import DevError
    except ImportError as error:
        raise CommandError(
            f"{error.name} is missing: pip install 'pop3-bridge[dev]'; or set BRIDGE_POSTGRES__URL and "
            "BRIDGE_S3__BUCKET to a Postgres and an S3 of your own, and use `pop3-bridge serve`"
        ) from error
    from bridge.compose import PortTaken

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await stack.run(
            arguments.state.absolute(),
            stack.OWN_LOGIN_NAME if arguments.mail else stack.SAMPLES_LOGIN_NAME,
            (octets for _, octets in (seed.read_mail(arguments.mail) if arguments.mail else seed.sample_messages())),
            context.environment,
            stop,
            say=lambda text: print(text, flush=True),
        )

    configure_logging("warning", "text")
    arguments.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        uvloop.run(run())
    except (PortTaken, DevError) as error:
        raise CommandError(str(error)) from error
    return 0
