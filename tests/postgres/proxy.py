"""A TCP proxy before Postgres that a test can silence or cut at a statement."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit


class FaultyProxy:
    """`cut_after` / `cut_before`: the next time these octets come from the client, the connection is reset after they
    were passed on and answered (the answer is lost), or before they are passed on. `is_silent`: nothing is passed on.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.cut_after: bytes | None = None
        self.cut_before: bytes | None = None
        self.is_silent = False
        self.is_refusing = False
        self.connection_count = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_refusing:
            writer.transport.abort()
            return
        self.connection_count += 1
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        answers_are_lost = asyncio.Event()

        async def forth() -> None:
            while data := await reader.read(65536):
                if self.is_silent:
                    continue
                if self.cut_before is not None and self.cut_before in data:
                    self.cut_before = None
                    return
                if self.cut_after is not None and self.cut_after in data:
                    self.cut_after = None
                    answers_are_lost.set()
                server_writer.write(data)

        async def back() -> None:
            while data := await server_reader.read(65536):
                if answers_are_lost.is_set():
                    return
                if not self.is_silent:
                    writer.write(data)

        try:
            pumps = [asyncio.create_task(forth()), asyncio.create_task(back())]
            _, pending = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pending:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            writer.transport.abort()
            server_writer.transport.abort()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def faulty_proxy(url: str) -> AsyncIterator[tuple[FaultyProxy, str]]:
    """The proxy, and the URL that leads through it."""
    parts = urlsplit(url)
    assert parts.hostname and parts.port
    proxy = FaultyProxy(parts.hostname, parts.port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        user = parts.netloc.rpartition("@")[0]
        yield proxy, urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{port}"))
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()
