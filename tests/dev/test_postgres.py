import asyncio
import os
import sys
from pathlib import Path

import asyncpg
import pytest

from bridge.dev.child import DevError
from bridge.dev.postgres import EmbeddedPostgres

# Starts a server, says so, and waits to be killed.
_ABANDON = """
import asyncio, sys
from pathlib import Path
from bridge.dev.postgres import EmbeddedPostgres

async def main():
    server = EmbeddedPostgres(Path(sys.argv[1]))
    await server.start()
    print("up", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def ask(url: str, *statements: str) -> object:
    connection = await asyncpg.connect(url, timeout=10, command_timeout=10)
    try:
        answer = None
        for statement in statements:
            answer = await connection.fetchval(statement)
        return answer
    finally:
        await connection.close(timeout=5)


async def test_data_and_password_outlast_a_restart(state_dir: Path) -> None:
    async with EmbeddedPostgres(state_dir) as server:
        first_url = server.url
        await ask(server.url, "CREATE TABLE kept (number int)", "INSERT INTO kept VALUES (41)")
    async with EmbeddedPostgres(state_dir) as server:
        assert await ask(server.url, "SELECT number + 1 FROM kept") == 42
        assert server.url.split("@")[0] == first_url.split("@")[0]


async def test_the_server_speaks_utf8_on_the_loopback_only_and_wants_its_password(state_dir: Path) -> None:
    async with EmbeddedPostgres(state_dir) as server:
        assert await ask(server.url, "SHOW server_encoding") == "UTF8"
        assert await ask(server.url, "SHOW listen_addresses") == "127.0.0.1"
        assert await ask(server.url, "SHOW fsync") == "on"
        with pytest.raises(asyncpg.InvalidPasswordError):
            await ask(server.url.replace(":", ":wrong", 2).replace(":wrong//", "://"), "SELECT 1")
    assert (state_dir / "password").stat().st_mode & 0o777 == 0o600


async def test_a_stopped_server_leaves_no_process(state_dir: Path) -> None:
    async with EmbeddedPostgres(state_dir) as server:
        pid = int((state_dir / "data" / "postmaster.pid").read_text().split()[0])
        assert server.child.is_running
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_server_left_by_a_killed_parent_is_ended_by_the_next_start(state_dir: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _ABANDON, str(state_dir), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    assert await asyncio.wait_for(parent.stdout.readline(), 60) == b"up\n"
    left_behind = (state_dir / "postgres.pid").read_text()
    parent.kill()
    await asyncio.wait_for(parent.wait(), 10)
    async with EmbeddedPostgres(state_dir) as server:
        assert await ask(server.url, "SELECT 1") == 1
        assert (state_dir / "postgres.pid").read_text() != left_behind


async def test_a_second_run_on_the_same_state_folder_is_refused_and_leaves_the_first_alone(state_dir: Path) -> None:
    async with EmbeddedPostgres(state_dir) as server:
        with pytest.raises(DevError, match="in use by another run"):
            await EmbeddedPostgres(state_dir).start()
        assert await ask(server.url, "SELECT 1") == 1


async def test_a_busy_port_is_named(state_dir: Path) -> None:
    listener = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        with pytest.raises(DevError, match=f"port {port}"):
            await EmbeddedPostgres(state_dir, port=port).start()


async def test_a_server_that_cannot_start_shows_the_end_of_its_log(state_dir: Path) -> None:
    async with EmbeddedPostgres(state_dir):
        pass
    (state_dir / "data" / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(DevError, match="incompatible"):
        await EmbeddedPostgres(state_dir).start()


async def test_a_broken_off_creation_is_begun_anew(state_dir: Path) -> None:
    (state_dir / "data.unfinished").mkdir(parents=True)
    (state_dir / "data.unfinished" / "PG_VERSION").write_text("half\n")
    (state_dir / "password").write_text("half")
    async with EmbeddedPostgres(state_dir) as server:
        assert await ask(server.url, "SELECT 1") == 1


async def test_without_user_namespaces_root_runs_it_as_nobody_or_hears_what_is_in_the_way(state_dir: Path) -> None:
    # Without PATH no `unshare` is found; for an ordinary user this is a start like any other.
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _ABANDON,
        str(state_dir),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": "/nonexistent"},
    )
    assert parent.stdout is not None
    assert parent.stderr is not None
    if await asyncio.wait_for(parent.stdout.readline(), 60) == b"up\n":
        assert (state_dir / "data").stat().st_uid != 0
        parent.kill()
        await asyncio.wait_for(parent.wait(), 10)
        async with EmbeddedPostgres(state_dir) as server:
            assert await ask(server.url, "SELECT 1") == 1
    else:
        assert b"the user nobody cannot reach" in await asyncio.wait_for(parent.stderr.read(), 10)
    await asyncio.wait_for(parent.communicate(), 10)
