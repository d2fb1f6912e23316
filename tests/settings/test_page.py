from pathlib import Path

from bridge.settings.environment import variables
from bridge.settings.page import configuration_page

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def test_the_documented_settings_are_those_there_are() -> None:
    assert PAGE.read_text(encoding="utf-8") == configuration_page(), "run: pop3-bridge settings > docs/configuration.md"


def test_every_variable_has_its_row() -> None:
    page = configuration_page()
    for variable in variables():
        assert page.count(f"| `{variable.name}` |") == 1
    assert "| `BRIDGE_SERVER__IDLE_TIMEOUT_S` | `600` | Silence after login" in page
    assert "(at least 600) |" in page
    assert page.count("**Secret.**") == 3
