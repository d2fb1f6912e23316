import signal
import sys
from pathlib import Path

import pytest

from bridge.dev.child import Child, DevError

_DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"


def child_in(folder: Path, *, wait_s: float = 5.0) -> Child:
    return Child("server", folder, stop_signals=[(signal.SIGTERM, wait_s)])


async def never() -> bool:
    return False


async def test_a_child_that_is_deaf_to_its_stop_signal_is_killed(tmp_path: Path) -> None:
    child = child_in(tmp_path, wait_s=0.05)
    await child.claim()
    await child.start([sys.executable, "-c", _DEAF], environment={})

    async def is_up() -> bool:
        return child.log_file.read_bytes() == b"up\n"

    await child.wait_until_ready(is_up, timeout_s=30)
    await child.stop()
    assert not child.is_running
    assert (tmp_path / "server.pid").read_text() == ""


async def test_a_child_that_ends_at_its_start_shows_what_it_said(tmp_path: Path) -> None:
    child = child_in(tmp_path)
    await child.claim()
    await child.start([sys.executable, "-c", "raise SystemExit('no disk')"], environment={})
    with pytest.raises(DevError, match="no disk"):
        await child.wait_until_ready(never, timeout_s=30)
    await child.stop()


async def test_a_child_that_is_never_ready_is_told_of_in_time(tmp_path: Path) -> None:
    child = child_in(tmp_path)
    await child.claim()
    await child.start([sys.executable, "-c", "import time; time.sleep(600)"], environment={})
    with pytest.raises(DevError, match=r"not ready within 0\.05 s"):
        await child.wait_until_ready(never, timeout_s=0.05)
    await child.stop()


async def test_another_process_that_has_the_number_of_a_former_child_is_left_alone(tmp_path: Path) -> None:
    stranger = child_in(tmp_path)
    await stranger.claim()
    await stranger.start([sys.executable, "-c", "import time; time.sleep(600)"], environment={})
    pid = (tmp_path / "server.pid").read_text().split()[0]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "server.pid").write_text(f"{pid} began at another time")
    child = child_in(tmp_path / "other")
    await child.claim()
    assert stranger.is_running
    await child.stop()
    await stranger.stop()


async def test_the_child_has_a_session_of_its_own_so_that_the_keyboard_does_not_reach_it(tmp_path: Path) -> None:
    child = child_in(tmp_path)
    await child.claim()
    await child.start([sys.executable, "-c", "import os; print(os.getsid(0) == os.getpid())"], environment={})
    await child.wait()
    assert child.log_file.read_text() == "True\n"
    await child.stop()
