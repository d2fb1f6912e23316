"""`pop3-bridge session`: who holds which maildrop now."""

import json
from argparse import Namespace

from bridge.cli.context import Context, Nouns, Tools, add_command, print_table
from bridge.maildrop.model import OpenLease
from bridge.settings import Settings

_MAX_LISTED_COUNT = 10_000


def add_parser(nouns: Nouns) -> None:
    noun = add_command(nouns, "session", "sessions: who holds which maildrop now", None)
    verbs = noun.add_subparsers(metavar="VERB", required=True)
    lister = add_command(verbs, "list", "list the maildrops that are held, over all replicas", _list)
    lister.add_argument("--json", action="store_true", help="one JSON object on each line")
    ender = add_command(verbs, "end", "free the maildrop of an account; its session ends and removes nothing", end)
    ender.add_argument("name", metavar="NAME", help="login name of the account")


def _list(context: Context, arguments: Namespace) -> int:
    async def work(tools: Tools, settings: Settings) -> int:
        leases = await tools.leases.open_leases(limit=_MAX_LISTED_COUNT)
        if arguments.json:
            for lease in leases:
                print(json.dumps(_as_json(lease)))
        else:
            rows = [
                (
                    ", ".join(lease.login_names),
                    lease.maildrop_id,
                    f"{lease.held_s:.0f} s",
                    f"{lease.idle_s:.0f} s",
                    f"{lease.expires_in_s:.0f} s" if lease.expires_in_s > 0 else "expired",
                )
                for lease in leases
            ]
            print_table(("ACCOUNT", "MAILDROP", "HELD", "IDLE", "EXPIRES IN"), rows)
        return 0

    return context.with_tools(work)


def end(context: Context, arguments: Namespace) -> int:
    """Break the lease of an account's view; also `maildrop unlock`."""

    async def work(tools: Tools, settings: Settings) -> int:
        account = await tools.provisioning.find(arguments.name)
        if await tools.leases.break_lease(account.maildrop_id, account.view_id):
            interval_s = settings.maildrop.lease_renew_interval_s
            print(f"{account.login_name} can log in; the old session removes nothing and ends within {interval_s:g} s")
        else:
            print(f"{account.login_name} had no session; nothing was changed")
        return 0

    return context.with_tools(work)


def _as_json(lease: OpenLease) -> dict[str, object]:
    return {
        "login_names": lease.login_names,
        "maildrop_id": lease.maildrop_id,
        "view_id": lease.view_id,
        "view_name": lease.view_name,
        "holder": str(lease.holder),
        "fencing_token": lease.fencing_token,
        "held_s": round(lease.held_s, 3),
        "idle_s": round(lease.idle_s, 3),
        "expires_in_s": round(lease.expires_in_s, 3),
    }
