"""Serves POP3 in children that kill themselves at a chosen line of QUIT.

Reads one JSON order per line: `environment`, and `die_at` ([file, line], or null to write the lines that QUIT passes to
`record_to`). Forks a child that serves, prints its pid, and prints its wait status once it has ended. The lines are
those at which the process waits for something outside: between two of them nothing outside can change.
"""

import ast
import json
import os
import signal
import sys
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import bridge
from bridge import compose  # noqa: F401  loaded once, before the forks
from bridge.cli.serve import serve_until_signalled
from bridge.settings import load_settings

HOUSE = str(Path(bridge.__file__).parent)


@cache
def waiting_lines(file: str) -> frozenset[int]:
    """Lines of statements that hold an await, an async with or an async for."""
    lines: set[int] = set()
    for node in ast.walk(ast.parse(Path(file).read_text())):
        if isinstance(node, ast.Await):
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
        elif isinstance(node, ast.AsyncWith | ast.AsyncFor):
            lines.update(range(node.lineno, node.body[0].lineno + 1))
    return frozenset(lines)


class Tracer:
    """Armed by the QUIT command; then records waiting lines, or kills the process at one."""

    def __init__(self, die_at: tuple[str, int] | None, record_to: str | None) -> None:
        self.die_at = die_at
        self.record = open(record_to, "w", buffering=1) if record_to else None  # noqa: SIM115
        self.is_armed = False
        self.seen: set[tuple[str, int]] = set()

    def call(self, frame: FrameType, event: str, argument: Any) -> Any:
        file = frame.f_code.co_filename
        if not file.startswith(HOUSE):
            return None
        if frame.f_code.co_name == "_quit" and file.endswith("pop3/session.py"):
            self.is_armed = True
        return self.line

    def line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line" and self.is_armed:
            here = (frame.f_code.co_filename, frame.f_lineno)
            if here == self.die_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.record is not None and here not in self.seen and here[1] in waiting_lines(here[0]):
                self.seen.add(here)
                print(json.dumps(here), file=self.record)
        return self.line


def serve(order: dict[str, Any]) -> None:
    die_at = (order["die_at"][0], order["die_at"][1]) if order["die_at"] else None
    sys.settrace(Tracer(die_at, order.get("record_to")).call)
    serve_until_signalled(load_settings(order["environment"]), ["pop3"])


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os.close(0)
            serve(json.loads(line))
            os._exit(0)
        print(pid, flush=True)
        print(os.waitpid(pid, 0)[1], flush=True)


main()
