"""The law of the house: which room may import which, and what the pure rooms may not touch."""

import ast
from pathlib import Path

import pytest

BRIDGE = Path(__file__).parent.parent / "bridge"

ALLOWED = {
    "ids": set(),
    "mail": set(),
    "sasl": set(),
    "settings": set(),
    "telemetry": set(),
    "background": {"telemetry"},
    "pop3": {"sasl"},
    "accounts": {"ids", "sasl", "telemetry"},
    "maildrop": {"ids", "mail", "telemetry"},
    "postgres": {"ids", "mail", "sasl", "accounts", "maildrop", "telemetry"},
    "s3": {"ids", "maildrop", "telemetry"},
    "server": {"ids", "pop3", "sasl", "accounts", "maildrop", "telemetry"},
    "admin": {"ids", "accounts", "maildrop", "telemetry"},
    "importing": {"ids", "mail", "maildrop", "telemetry"},
    "compose": {
        "ids", "mail", "sasl", "settings", "telemetry", "background", "pop3", "accounts", "maildrop", "postgres", "s3",
        "server", "admin", "importing",
    },
}  # fmt: skip
for _top in ("cli", "dev", "__main__"):
    ALLOWED[_top] = {*ALLOWED, "cli", "dev"}
ALLOWED["cli"] -= {"server"}

PURE = ("mail", "sasl", "pop3")
IMPURE_MODULES = {
    "asyncio", "socket", "ssl", "time", "datetime", "random", "secrets", "os", "logging", "threading", "pathlib",
    "subprocess", "uuid",
}  # fmt: skip

MODULES = sorted(BRIDGE.rglob("*.py"))


def room_of(path: Path) -> str:
    first = path.relative_to(BRIDGE).parts[0]
    return first.removesuffix(".py")


def imported_modules(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            if node.module == "bridge":
                names.update(f"bridge.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(BRIDGE)))
def test_a_room_imports_only_what_its_row_allows(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return
    rooms = {name.split(".")[1] for name in imported_modules(path) if name.startswith("bridge.")}
    assert rooms - {room, "__version__"} <= ALLOWED[room]


@pytest.mark.parametrize(
    "path", [path for path in MODULES if room_of(path) in PURE], ids=lambda path: str(path.relative_to(BRIDGE))
)
def test_a_pure_room_touches_no_clock_no_chance_and_no_outside(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported_modules(path)}
    assert not roots & IMPURE_MODULES


def test_every_room_of_the_house_stands_in_the_table() -> None:
    rooms = {room_of(path) for path in MODULES} - {"__init__"}
    assert rooms <= set(ALLOWED)
