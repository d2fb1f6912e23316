import contextlib
import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Literal

from bridge.telemetry.logs import JsonFormatter, TextFormatter, configure_logging

QUIET = ("aiobotocore", "aiohttp", "asyncio", "boto3", "botocore", "urllib3")


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("bridge.server", logging.WARNING, "file", 1, message, (), None)
    made.created = 1_764_000_000.5
    for name, value in extra.items():
        setattr(made, name, value)
    return made


def test_a_line_is_one_json_object_in_utc_with_its_fields() -> None:
    line = JsonFormatter().format(record("session ended", octets=12, client="192.0.2.1"))
    assert json.loads(line) == {
        "time": "2025-11-24T16:00:00.500+00:00",
        "level": "warning",
        "logger": "bridge.server",
        "message": "session ended",
        "octets": 12,
        "client": "192.0.2.1",
    }


def test_a_client_cannot_forge_a_line() -> None:
    evil = 'a\r\n{"level":"error"}\u2028\x1b[31m\udcff'
    for formatter in (JsonFormatter(), TextFormatter()):
        line = formatter.format(record("unknown command", text=evil))
        assert line.isascii() and line.isprintable()
    assert json.loads(JsonFormatter().format(record("x", text=evil)))["text"] == evil


def test_what_is_too_long_is_cut() -> None:
    fields = json.loads(JsonFormatter().format(record("m" * 100_000, text="t" * 100_000)))
    assert len(fields["message"]) < 2_100 and len(fields["text"]) < 2_100


def test_a_traceback_stays_within_the_one_line() -> None:
    made = record("fault")
    try:
        raise ValueError("why")
    except ValueError:
        made.exc_info = sys.exc_info()
    for formatter in (JsonFormatter(), TextFormatter()):
        line = formatter.format(made)
        assert "\n" not in line and "ValueError: why" in line


@contextlib.contextmanager
def listening(level: Literal["info", "error"]) -> Iterator[list[str]]:
    """The messages that reach standard error; the process' logging is as before afterwards."""
    loggers = [logging.getLogger(name) for name in (None, *QUIET)]
    handlers, levels, errors = loggers[0].handlers[:], [logger.level for logger in loggers], sys.stderr
    sys.stderr = heard = io.StringIO()
    messages: list[str] = []
    try:
        configure_logging(level, "json")
        yield messages
    finally:
        sys.stderr = errors
        loggers[0].handlers[:] = handlers
        for logger, before in zip(loggers, levels, strict=True):
            logger.setLevel(before)
        messages += [json.loads(line)["message"] for line in heard.getvalue().splitlines()]


def test_chatty_libraries_are_quiet_and_our_rooms_are_heard() -> None:
    with listening("info") as messages:
        logging.getLogger("botocore.hooks").info("noise")
        logging.getLogger("asyncio").info("noise")
        logging.getLogger("bridge.s3").info("listing ended")
        logging.getLogger("bridge.s3").debug("detail")
    assert messages == ["listing ended"]


def test_the_level_holds_for_libraries_too() -> None:
    with listening("error") as messages:
        logging.getLogger("botocore.hooks").warning("noise")
        logging.getLogger("asyncio").error("a fault")
    assert messages == ["a fault"]
