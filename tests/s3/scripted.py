"""A server that answers as told, octet by octet, for what no sound S3 server does."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from bridge.s3.clients import S3Options, s3_client
from bridge.s3.object_store import S3ObjectStore

REASONS = {200: "OK", 206: "Partial Content"}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None  # what Content-Length says, when not the truth
    is_held_open: bool = False  # after the body, instead of the end of the connection
    is_silent: bool = False  # not even a status; held open


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    target: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes


@dataclass(slots=True)
class ScriptedS3:
    """Answers each request with the next of `answers`; the last one stays."""

    answers: list[Answer]
    asked: list[Asked] = field(default_factory=list)
    cut_off: asyncio.Event = field(default_factory=asyncio.Event)  # the client has ended a connection held open

    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        if headers.get("expect"):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.asked.append(Asked(method, target, headers, body))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        length = len(answer.body) if answer.length is None else answer.length
        head = {"Content-Length": str(length), "Connection": "close", **answer.headers}
        lines = [f"HTTP/1.1 {answer.status} {REASONS.get(answer.status, 'Oops')}"]
        lines += [f"{name}: {value}" for name, value in head.items()]
        if not answer.is_silent:
            writer.write("\r\n".join([*lines, "", ""]).encode() + (b"" if method == "HEAD" else answer.body))
        if answer.is_held_open or answer.is_silent:
            await reader.read()
            self.cut_off.set()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def refusal(status: int, code: str) -> Answer:
    """As S3 says no to anything but HEAD."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>"
    return Answer(status, body.encode(), {"Content-Type": "application/xml"})


def found(body: bytes, *, etag: str = "e1", **more: Any) -> Answer:
    """As S3 answers GET and, but for the body, HEAD."""
    status = more.pop("status", 200)
    headers = {"ETag": f'"{etag}"', "Last-Modified": "Wed, 25 Nov 2026 10:00:00 GMT", **more.pop("headers", {})}
    return Answer(status, body, headers, **more)


@asynccontextmanager
async def scripted(
    *answers: Answer, observed: list[tuple[str, str]] | None = None, **limits: Any
) -> AsyncIterator[tuple[S3ObjectStore, ScriptedS3]]:
    """A store whose server answers so. `limits`: of S3Options. `observed` gets operations and outcomes."""
    script = ScriptedS3(list(answers))
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    options = S3Options(
        endpoint_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
        region="us-east-1",
        path_style=True,
        access_key_id="key",
        secret_access_key="secret",
        attempt_count=1,
    )
    options = replace(options, **limits)

    def observe(operation: str, outcome: str, duration_s: float) -> None:
        assert duration_s >= 0
        if observed is not None:
            observed.append((operation, outcome))

    async with server:
        async with s3_client(options) as client:
            yield S3ObjectStore(client, options, observe=observe), script
        async with asyncio.timeout(10):
            await asyncio.gather(*script.tasks)
