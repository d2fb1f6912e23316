import json

import pytest

from tests.cli.rig import Rig, Terminal


def verifier(rig: Rig, name: str) -> str | None:
    return next(one.argon2_verifier for one in rig.tables.accounts.values() if one.login_name == name)


def test_an_account_is_added_with_a_password_typed_twice(rig: Rig) -> None:
    said = rig.run("account", "add", "Alice@Example.com", stdin=Terminal(), secrets=["pä ss", "pä ss"])
    assert (said.code, said.out) == (0, "added alice@example.com: mail in mail/alice@example.com/\n")
    assert rig.asked == ["Password: ", "Once more: "]
    assert verifier(rig, "alice@example.com") == "hashed:pä ss"


def test_a_password_typed_differently_changes_nothing(rig: Rig) -> None:
    said = rig.run("account", "add", "alice", stdin=Terminal(), secrets=["one", "two"])
    assert (said.code, said.err) == (1, "pop3-bridge: the two passwords differ; nothing was changed\n")
    assert not rig.tables.accounts


def test_without_a_terminal_nobody_is_asked(rig: Rig) -> None:
    said = rig.run("account", "add", "alice")
    assert said.code == 1
    assert said.err == ("pop3-bridge: nobody can be asked here: give --password-stdin, --password-file or --generate\n")
    assert rig.asked == []


def test_a_password_may_come_from_the_input_or_a_file_with_all_its_blanks(rig: Rig, tmp_path) -> None:
    assert rig.run("account", "add", "a", "--password-stdin", stdin=Terminal(" a b \nnext")).code == 0
    assert verifier(rig, "a") == "hashed: a b "
    (tmp_path / "secret").write_text("s3cret\r\n")
    assert rig.run("account", "passwd", "a", "--password-file", str(tmp_path / "secret")).code == 0
    assert verifier(rig, "a") == "hashed:s3cret"


def test_a_password_file_that_cannot_be_read_is_named(rig: Rig, tmp_path) -> None:
    said = rig.run("account", "add", "a", "--password-file", str(tmp_path / "secret"))
    assert (said.code, said.err) == (1, f"pop3-bridge: {tmp_path}/secret cannot be read: No such file or directory\n")
    (tmp_path / "secret").write_bytes(b"s3cret\xff")
    said = rig.run("account", "add", "a", "--password-file", str(tmp_path / "secret"))
    assert (said.code, said.err) == (1, f"pop3-bridge: {tmp_path}/secret is not UTF-8\n")


def test_a_generated_password_is_the_only_one_that_is_printed(rig: Rig) -> None:
    said = rig.run("account", "add", "alice", "--generate")
    password = said.out.splitlines()[1].removeprefix("password: ")
    assert len(password) == 24
    assert verifier(rig, "alice") == f"hashed:{password}"
    said = rig.run("account", "passwd", "alice", "--password-stdin", stdin=Terminal("s3cret\n"))
    assert said.out == "alice: the new password holds from the next login on\n"


def test_a_password_is_never_an_argument(rig: Rig) -> None:
    assert rig.run("account", "add", "alice", "s3cret").code == 2
    assert rig.run("account", "add", "alice", "--password", "s3cret").code == 2


def test_bucket_prefix_and_policies_may_be_chosen(rig: Rig) -> None:
    said = rig.run(
        "account", "add", "bob", "--generate", "--bucket", "archive", "--prefix", "in/bob/", "--history", "existing",
        "--lock-policy", "takeover", "--removal-policy", "hide", "--login-delay-s", "60",
    )  # fmt: skip
    assert said.out.startswith("added bob: mail in archive/in/bob/\n")
    shown = json.loads(rig.run("account", "show", "bob", "--json").out)
    wanted = {
        "login_name": "bob",
        "status": "active",
        "has_password": True,
        "login_delay_s": 60,
        "bucket": "archive",
        "prefix": "in/bob/",
        "layout": "objects",
        "history": "existing",
        "lock_policy": "takeover",
        "removal_policy": "hide",
    }
    assert {key: shown[key] for key in wanted} == wanted


def test_without_any_bucket_one_is_asked_for(rig: Rig) -> None:
    del rig.environment["BRIDGE_S3__BUCKET"]
    said = rig.run("account", "add", "alice", "--generate")
    assert (said.code, said.out) == (1, "")
    assert said.err == "pop3-bridge: which bucket? give --bucket, or set BRIDGE_S3__BUCKET\n"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("add", "../bob", "--generate"), "a login name holds no / and no .."),
        (("add", "", "--generate"), "the login name is not allowed: empty"),
        (
            ("add", "alice", "--generate"),
            "there is an account alice already; `pop3-bridge account passwd` sets its password",
        ),
        (("add", "b", "--generate", "--prefix", "alice/b/"), "prefixes contain one another"),
        (
            ("add", "b", "--generate", "--prefix", "b"),
            "a prefix ends in /, so that it is not the beginning of another: b/",
        ),
        (("add", "b", "--password-stdin"), "an empty password is never allowed"),
        (("show", "nobody"), "there is no account nobody"),
        (("passwd", "nobody", "--generate"), "there is no account nobody"),
        (("remove", "nobody"), "there is no account nobody"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(rig: Rig, argv: tuple[str, ...], words: str) -> None:
    rig.run("account", "add", "alice", "--generate")
    said = rig.run("account", *argv)
    assert (said.code, said.out, said.err) == (1, "", f"pop3-bridge: {words}\n")


def test_accounts_are_listed_for_people_and_for_machines(rig: Rig) -> None:
    for name in ("bob", "alice@example.com"):
        rig.run("account", "add", name, "--generate")
    rig.run("account", "suspend", "bob")
    lines = rig.run("account", "list").out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["NAME", "STATUS"],
        ["alice@example.com", "active"],
        ["bob", "suspended"],
    ]
    listed = rig.run("account", "list", "--json").out
    assert [json.loads(line)["login_name"] for line in listed.splitlines()] == ["alice@example.com", "bob"]
    assert "hashed" not in listed


def test_an_account_is_suspended_and_resumed(rig: Rig) -> None:
    rig.run("account", "add", "alice", "--generate")
    said = rig.run("account", "suspend", "alice")
    assert said.out == "alice cannot log in any more; `pop3-bridge session end` ends a session that runs\n"
    assert "status:         suspended\n" in rig.run("account", "show", "alice").out
    assert rig.run("account", "resume", "alice").out == "alice can log in again\n"
    assert "status:         active\n" in rig.run("account", "show", "alice").out


def test_an_account_is_removed_only_after_a_yes(rig: Rig) -> None:
    rig.run("account", "add", "alice", "--generate")
    said = rig.run("account", "remove", "alice", stdin=Terminal("no\n"))
    assert (said.code, said.err) == (
        1,
        "pop3-bridge: nothing was removed: type yes, or use --yes, which does not ask\n",
    )
    assert rig.tables.accounts
    said = rig.run("account", "remove", "alice", stdin=Terminal("yes\n"))
    assert said.code == 0
    assert said.out.endswith("removed alice; its mail in S3 is untouched\n")
    assert not rig.tables.accounts
    rig.run("account", "add", "alice", "--generate")
    assert rig.run("account", "remove", "alice", "--yes").out == "removed alice; its mail in S3 is untouched\n"
