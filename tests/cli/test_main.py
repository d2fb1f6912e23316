import tomllib
from pathlib import Path

import pytest

from bridge.postgres.migrate import MigrationError, MigrationReport
from bridge.settings.page import configuration_page
from tests.cli.rig import AWAY, Rig

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_help_shows_the_commands_and_how_to_use_them(rig: Rig) -> None:
    said = rig.run("--help")
    assert said.code == 0
    for command in ("migrate", "check", "settings", "account", "maildrop", "session", "removal", "examples:"):
        assert command in said.out
    assert "examples:\n  pop3-bridge account add" in rig.run("account", "--help").out


def test_the_installed_command_is_this_one() -> None:
    assert tomllib.loads(PYPROJECT.read_text())["project"]["scripts"] == {"pop3-bridge": "bridge.cli:main"}


@pytest.mark.parametrize("argv", [(), ("fly",), ("account",), ("account", "add"), ("account", "list", "--xml")])
def test_wrong_usage_has_an_exit_code_of_its_own(rig: Rig, argv: tuple[str, ...]) -> None:
    said = rig.run(*argv)
    assert said.code == 2
    assert said.err.startswith("usage: pop3-bridge")


def test_wrong_settings_are_told_line_by_line_before_anybody_is_asked(rig: Rig) -> None:
    rig.environment |= {"BRIDGE_POSTGRES__URL": "", "BRIDGE_LOGS__LEVEL": "loud"}
    for argv in (("account", "add", "alice"), ("migrate",), ("check",), ("session", "list")):
        said = rig.run(*argv)
        assert (said.code, said.out) == (1, "")
        assert said.err == (
            "pop3-bridge: BRIDGE_POSTGRES__URL is missing\n"
            "pop3-bridge: BRIDGE_LOGS__LEVEL: should be 'debug', 'info', 'warning' or 'error'\n"
        )
    assert rig.asked == []


def test_a_store_that_is_away_is_one_line_and_no_trace(rig: Rig) -> None:
    rig.accounts.is_away = True
    said = rig.run("account", "list")
    assert (said.code, said.out) == (1, "")
    assert said.err == (
        "pop3-bridge: a store does not answer (the fake is away); `pop3-bridge check` tries every part\n"
    )


def test_settings_are_listed_without_any_being_set(rig: Rig) -> None:
    rig.environment.clear()
    assert rig.run("settings").out == configuration_page()


def test_a_migration_says_what_it_did(rig: Rig) -> None:
    assert rig.run("migrate").out == "applied accounts\napplied messages\nthe schema is at version 2\n"
    rig.migration = MigrationReport((), 2)
    assert rig.run("migrate").out == "the schema is at version 2; nothing was missing\n"


def test_a_migration_that_fails_says_why(rig: Rig) -> None:
    rig.migration = MigrationError("a table was in use for 10 s; nothing was changed: try again")
    said = rig.run("migrate")
    assert said.code == 1
    assert said.err == "pop3-bridge: a table was in use for 10 s; nothing was changed: try again\n"
    rig.migration = AWAY
    assert rig.run("migrate").err.startswith("pop3-bridge: a store does not answer (connection refused)")


def test_removals_that_are_due_are_counted(rig: Rig) -> None:
    assert rig.run("removal", "show").out == "due:    0\n"
