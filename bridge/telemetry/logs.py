"""Log lines: one JSON object (or one line of text) per event, on standard error."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Literal

_MAX_TEXT_CHARACTERS = 2_000  # a client's line can be long; a traceback is the program's own and may be longer
_MAX_TRACEBACK_CHARACTERS = 20_000
_QUIET_LOGGERS = ("aiobotocore", "aiohttp", "asyncio", "boto3", "botocore", "urllib3")
_STANDARD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def configure_logging(level: Literal["debug", "info", "warning", "error"], format: Literal["json", "text"]) -> None:
    """Send all log lines of the process to standard error. Call once, before anything is logged."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET_LOGGERS:  # they log every connection and retry; what matters of it our rooms log themselves
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


class JsonFormatter(logging.Formatter):
    """UTC time, level, logger, message, then the fields given as `extra`, and the traceback; all in one line."""

    def format(self, record: logging.LogRecord) -> str:
        # ASCII only: JSON escapes line ends, control characters and lone surrogates, so no client can forge a line.
        return json.dumps(_fields(record), ensure_ascii=True, default=str)


class TextFormatter(logging.Formatter):
    """The same for eyes: time, level, logger, message, then `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        head = f"{fields.pop('time')} {fields.pop('level')} {fields.pop('logger')}: {_visible(fields.pop('message'))}"
        return " ".join([head, *(f"{name}={_visible(value)}" for name, value in fields.items())])


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": _cut(record.getMessage(), _MAX_TEXT_CHARACTERS),
    }
    for name, value in record.__dict__.items():
        if name not in _STANDARD_FIELDS and name not in fields:
            fields[name] = value if isinstance(value, bool | int | float | None) else _cut(str(value))
    if record.exc_info and record.exc_info[0] is not None:
        traceback = logging.Formatter().formatException(record.exc_info)
        fields["traceback"] = traceback[-_MAX_TRACEBACK_CHARACTERS:]  # its end says what happened
    return fields


def _cut(text: str, max_characters: int = _MAX_TEXT_CHARACTERS) -> str:
    return text if len(text) <= max_characters else text[:max_characters] + "..."


def _visible(value: object) -> str:
    """Printable, on one line."""
    text = str(value)
    return text if text.isascii() and text.isprintable() else text.encode("unicode_escape").decode("ascii")
