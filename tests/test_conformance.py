import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
ROWS = [
    tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
    for line in PAGE.splitlines()
    if re.match(r"\|\s*[A-Z0-9]+-[0-9]", line)
]
OPEN = re.compile(r"open: \S.*")
TEST = r"tests/[\w/]+/test_\w+\.py::test_\w+|tests/test_\w+\.py::test_\w+"
SCENE = r"tests/transcripts/\w+\.pop3"
HELD = re.compile(rf"`(?:{TEST}|{SCENE})`(?:, `(?:{TEST}|{SCENE})`)?")


@cache
def names_in(path: Path) -> frozenset[str]:
    """The tests that pytest finds at the top of a file; read, not imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    )


def is_there(reference: str) -> bool:
    path, _, name = reference.partition("::")
    file = ROOT / path
    return file.is_file() and (not name or name in names_in(file))


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row_is_open_for_a_reason_or_held_by_tests_that_are_there(row: tuple[str, ...]) -> None:
    assert len(row) == 3, "a row has an id, what must not happen, and what holds it"
    _, fault, held_by = row
    assert 0 < len(fault.split()) <= 15
    assert OPEN.fullmatch(held_by) or HELD.fullmatch(held_by), f"neither held nor open: {held_by}"
    missing = [reference for reference in re.findall(r"`([^`]+)`", held_by) if not is_there(reference)]
    assert missing == []


def test_no_id_is_listed_twice() -> None:
    assert ROWS
    assert [id_ for id_, count in Counter(row[0] for row in ROWS).items() if count > 1] == []


def test_every_row_of_a_group_has_an_id_and_no_number_is_left_out() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("|") and not line.startswith(("| id |", "|---"))]
    assert len(lines) == len(ROWS)
    numbers: dict[str, list[int]] = {}
    for row in ROWS:
        group, _, number = row[0].rpartition("-")
        numbers.setdefault(group, []).append(int(number))
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())


def test_the_counts_at_the_end_are_those_of_the_rows() -> None:
    open_count = sum(row[-1].startswith("open:") for row in ROWS)
    assert f"Held: {len(ROWS) - open_count}. Open: {open_count}." in PAGE
