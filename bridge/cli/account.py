"""`pop3-bridge account`: who may log in."""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from bridge.accounts.model import Account
from bridge.accounts.provisioning import MaildropWish, generate_password
from bridge.cli.context import CommandError, Context, Nouns, Tools, add_command, print_fields, print_table
from bridge.maildrop.model import History, Layout, LockPolicy, RemovalPolicy
from bridge.settings import Settings

# What this release serves; the words of the schema reach further.
_LAYOUTS = (Layout.OBJECTS,)
_LOCK_POLICIES = (LockPolicy.REFUSE, LockPolicy.WAIT, LockPolicy.TAKEOVER)
_REMOVAL_POLICIES = (RemovalPolicy.DELETE, RemovalPolicy.HIDE)

_EXAMPLES = """\
  pop3-bridge account add alice@example.com
  pop3-bridge account add alice@example.com --bucket mail --prefix inbound/alice/ --generate
  pop3-bridge account passwd alice@example.com --password-file /run/secrets/alice
  pop3-bridge account list --json | jq -r .login_name
"""
_ADD_EXAMPLES = """\
  pop3-bridge account add alice@example.com                 asks for the password
  pop3-bridge account add alice@example.com --generate      makes one and prints it
  pop3-bridge account add bob --bucket mail --prefix inbound/bob/ --password-stdin < secret
"""


def add_parser(nouns: Nouns) -> None:
    account = add_command(nouns, "account", "accounts: who may log in, to which mail", None, examples=_EXAMPLES)
    verbs = account.add_subparsers(metavar="VERB", required=True)

    add = add_command(verbs, "add", "make an account, and its maildrop if it is new", _add, examples=_ADD_EXAMPLES)
    _add_name(add)
    add.add_argument("--bucket", help="where its mail lies (default: BRIDGE_S3__BUCKET)")
    add.add_argument("--prefix", help='folder in the bucket, ends in /; "" is the whole bucket (default: NAME/)')
    add.add_argument("--layout", choices=_LAYOUTS, default=Layout.OBJECTS, help="how messages lie there")
    add.add_argument(
        "--history",
        choices=list(History),
        default=History.NEW,
        help="existing: clients know this mailbox already, so it is not served before its index is complete",
    )
    add.add_argument(
        "--lock-policy",
        choices=_LOCK_POLICIES,
        default=LockPolicy.REFUSE,
        help="what a second login hears while a session runs",
    )
    add.add_argument(
        "--removal-policy",
        choices=_REMOVAL_POLICIES,
        default=RemovalPolicy.DELETE,
        help="hide: what clients delete is not shown again, but stays in S3",
    )
    add.add_argument("--login-delay-s", type=int, default=0, metavar="S", help="pause between two logins (default: 0)")
    _add_password(add)

    lister = add_command(verbs, "list", "list all accounts", _list)
    lister.add_argument("--json", action="store_true", help="one JSON object on each line")
    show = add_command(verbs, "show", "show an account and its maildrop", _show)
    _add_name(show)
    show.add_argument("--json", action="store_true", help="as one JSON object")
    passwd = add_command(verbs, "passwd", "set a new password", _passwd)
    _add_name(passwd)
    _add_password(passwd)
    _add_name(add_command(verbs, "suspend", "refuse logins; sessions that run go on to their end", _suspend))
    _add_name(add_command(verbs, "resume", "allow logins again", _resume))
    remove = add_command(verbs, "remove", "remove an account; its mail in S3 stays", _remove)
    _add_name(remove)
    remove.add_argument("--yes", action="store_true", help="do not ask")


def _add_name(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="login name, such as alice@example.com")


def _add_password(parser: ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--password-file", type=Path, metavar="FILE", help="the password is the file's first line")
    source.add_argument("--password-stdin", action="store_true", help="the password is the first line of the input")
    source.add_argument("--generate", action="store_true", help="make a password and print it")


def _add(context: Context, arguments: Namespace) -> int:
    async def work(tools: Tools, settings: Settings) -> int:
        bucket = arguments.bucket or settings.s3.bucket
        if not bucket:
            raise CommandError("which bucket? give --bucket, or set BRIDGE_S3__BUCKET")
        wish = MaildropWish(
            bucket=bucket,
            key_prefix=arguments.prefix,
            layout=arguments.layout,
            history=arguments.history,
            lock_policy=arguments.lock_policy,
            removal_policy=arguments.removal_policy,
            login_delay_s=arguments.login_delay_s,
        )
        account = await tools.provisioning.add(arguments.name, password, wish)
        maildrop = await tools.index.maildrop(account.maildrop_id)
        print(f"added {account.login_name}: mail in {maildrop.bucket}/{maildrop.key_prefix}")
        _print_generated(arguments, password)
        return 0

    context.settings()  # wrong settings are told before anybody is asked for a password
    password = _password(context, arguments)
    return context.with_tools(work)


def _passwd(context: Context, arguments: Namespace) -> int:
    async def work(tools: Tools, settings: Settings) -> int:
        account = await tools.provisioning.set_password(arguments.name, password)
        print(f"{account.login_name}: the new password holds from the next login on")
        _print_generated(arguments, password)
        return 0

    context.settings()
    password = _password(context, arguments)
    return context.with_tools(work)


def _password(context: Context, arguments: Namespace) -> str:
    """From where the arguments say. Never an argument itself: those stand in process lists and histories."""
    if arguments.generate:
        return generate_password()
    if arguments.password_stdin:
        return context.stdin.readline().rstrip("\r\n")
    if arguments.password_file is not None:
        try:
            with arguments.password_file.open(encoding="utf-8") as file:
                return str(file.readline()).rstrip("\r\n")
        except OSError as error:
            raise CommandError(f"{arguments.password_file} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise CommandError(f"{arguments.password_file} is not UTF-8") from None
    if not context.stdin.isatty():
        raise CommandError("nobody can be asked here: give --password-stdin, --password-file or --generate")
    password = context.ask_secret("Password: ")
    if context.ask_secret("Once more: ") != password:
        raise CommandError("the two passwords differ; nothing was changed")
    return password


def _print_generated(arguments: Namespace, password: str) -> None:
    if arguments.generate:
        print(f"password: {password}")


def _list(context: Context, arguments: Namespace) -> int:
    async def work(tools: Tools, settings: Settings) -> int:
        rows = []
        async for account in tools.provisioning.accounts():
            if arguments.json:
                print(json.dumps(_as_json(account)))
            else:
                rows.append((account.login_name, account.status, account.maildrop_id, f"{account.created_at:%Y-%m-%d}"))
        if not arguments.json:
            print_table(("NAME", "STATUS", "MAILDROP", "CREATED"), rows)
        return 0

    return context.with_tools(work)


def _show(context: Context, arguments: Namespace) -> int:
    async def work(tools: Tools, settings: Settings) -> int:
        account = await tools.provisioning.find(arguments.name)
        maildrop = await tools.index.maildrop(account.maildrop_id)
        shown = _as_json(account) | {
            "bucket": maildrop.bucket,
            "prefix": maildrop.key_prefix,
            "layout": maildrop.layout,
            "history": maildrop.history,
            "lock_policy": maildrop.lock_policy,
            "removal_policy": maildrop.removal_policy,
        }
        if arguments.json:
            print(json.dumps(shown))
        else:
            print_fields([(key.replace("_", " "), value) for key, value in shown.items()])
        return 0

    return context.with_tools(work)


def _as_json(account: Account) -> dict[str, object]:
    return {
        "login_name": account.login_name,
        "status": account.status,
        "has_password": account.argon2_verifier is not None,
        "maildrop_id": account.maildrop_id,
        "login_delay_s": account.login_delay_s,
        "expire_days": account.expire_days,
        "created_at": account.created_at.isoformat(),
    }


def _suspend(context: Context, arguments: Namespace) -> int:
    async def work(tools: Tools, settings: Settings) -> int:
        account = await tools.provisioning.suspend(arguments.name)
        print(f"{account.login_name} cannot log in any more; `pop3-bridge session end` ends a session that runs")
        return 0

    return context.with_tools(work)


def _resume(context: Context, arguments: Namespace) -> int:
    async def work(tools: Tools, settings: Settings) -> int:
        account = await tools.provisioning.resume(arguments.name)
        print(f"{account.login_name} can log in again")
        return 0

    return context.with_tools(work)


def _remove(context: Context, arguments: Namespace) -> int:
    async def work(tools: Tools, settings: Settings) -> int:
        account = await tools.provisioning.find(arguments.name)
        if not arguments.yes:
            print(f"Remove {account.login_name}? Its mail in S3 stays. Type yes: ", end="", flush=True)
            if context.stdin.readline().strip() != "yes":
                raise CommandError("nothing was removed: type yes, or use --yes, which does not ask")
        await tools.provisioning.remove(account.login_name)
        print(f"removed {account.login_name}; its mail in S3 is untouched")
        return 0

    return context.with_tools(work)
