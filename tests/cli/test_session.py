import asyncio
import json
from uuid import UUID

import pytest

from bridge.maildrop.errors import LeaseLost
from bridge.maildrop.model import Lease
from tests.cli.rig import Rig
from tests.fakes.message_index import FakeMessageIndex

HOLDER = UUID(int=7)


def logged_in(rig: Rig, name: str) -> Lease:
    rig.run("account", "add", name, "--generate")
    account = next(one for one in rig.tables.accounts.values() if one.login_name == name)
    taken = rig.leases.acquire(
        account.maildrop_id, account.view_id, HOLDER, lease_duration_s=60, login_delay_s=0, takeover_idle_s=120
    )
    return asyncio.run(taken).lease


def test_sessions_are_listed_for_people_and_for_machines(rig: Rig) -> None:
    logged_in(rig, "alice@example.com")
    rig.tables.clock.pass_time(10)
    head, row = rig.run("session", "list").out.splitlines()
    assert head.split() == ["ACCOUNT", "MAILDROP", "HELD", "IDLE", "EXPIRES", "IN"]
    assert row.split()[0] == "alice@example.com"
    assert row.split()[2:] == ["10", "s", "10", "s", "50", "s"]
    listed = json.loads(rig.run("session", "list", "--json").out)
    assert listed["login_names"] == ["alice@example.com"]
    assert listed["holder"] == str(HOLDER)
    rig.tables.clock.pass_time(60)
    assert rig.run("session", "list").out.splitlines()[1].endswith("expired")


@pytest.mark.parametrize("command", [("session", "end"), ("maildrop", "unlock")])
def test_a_session_is_ended_and_can_remove_nothing_any_more(rig: Rig, command: tuple[str, str]) -> None:
    lease = logged_in(rig, "alice")
    said = rig.run(*command, "Alice")
    assert (said.code, said.out) == (0, "alice can log in; the old session removes nothing and ends within 15 s\n")
    with pytest.raises(LeaseLost):
        asyncio.run(FakeMessageIndex(rig.tables).remove_messages(lease, [], claim_duration_s=60))
    said = rig.run(*command, "alice")
    assert (said.code, said.out) == (0, "alice had no session; nothing was changed\n")
