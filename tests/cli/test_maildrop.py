from tests.cli.rig import Rig

MAIL = b"From: a@example.com\r\n\r\nA body.\r\n"


def added(rig: Rig, count: int) -> None:
    rig.run("account", "add", "alice", "--generate")
    rig.bucket.objects |= {f"alice/{number:03}": MAIL for number in range(count)}


def fields(out: str) -> dict[str, str]:
    return {name: value.strip() for name, _, value in (line.partition(":") for line in out.splitlines())}


def test_a_sync_says_what_it_found(rig: Rig) -> None:
    added(rig, 3)
    rig.bucket.objects["alice/folder/"] = b""
    said = rig.run("maildrop", "sync", "alice")
    assert said.code == 0
    assert fields(said.out) == {
        "messages listed": "3",
        "messages added": "3",
        "refreshed": "0",
        "vanished": "0",
        "unreadable": "0",
        "skipped, folder-marker": "1",
    }


def test_a_maildrop_is_shown_with_what_is_indexed(rig: Rig) -> None:
    added(rig, 3)
    assert fields(rig.run("maildrop", "show", "alice").out)["listed whole"].startswith("not yet")
    rig.run("maildrop", "sync", "alice")
    shown = fields(rig.run("maildrop", "show", "alice").out)
    assert shown["mail in"] == "mail/alice/"
    assert shown["listed whole"] == "yes"
    assert (shown["messages"], shown["octets"]) == ("3", str(3 * len(MAIL)))


def test_many_messages_that_are_missing_stay_until_an_operator_believes_it(rig: Rig) -> None:
    added(rig, 30)
    rig.run("maildrop", "sync", "alice")
    rig.bucket.objects.clear()
    said = rig.run("maildrop", "sync", "alice")
    assert said.code == 1
    assert said.err.splitlines()[-1].startswith("pop3-bridge: 30 messages are not in the bucket any more, too many")
    assert fields(rig.run("maildrop", "show", "alice").out)["messages"] == "30"
    said = rig.run("maildrop", "sync", "alice", "--accept-loss")
    assert said.code == 0
    assert fields(said.out)["vanished"] == "30"
    assert fields(rig.run("maildrop", "show", "alice").out)["messages"] == "0"


def test_the_maildrop_of_an_unknown_account_is_said_to_be_none(rig: Rig) -> None:
    for verb in ("show", "sync", "unlock"):
        said = rig.run("maildrop", verb, "nobody")
        assert (said.code, said.err) == (1, "pop3-bridge: there is no account nobody\n")
