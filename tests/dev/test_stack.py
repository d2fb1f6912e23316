"""`pop3-bridge dev`, the whole of it, as a person runs it."""

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bridge.dev.seed import sample_messages
from tests.raw_client import RawClient
from tests.service import free_port

LIMIT_S = 90.0


class Dev:
    def __init__(self, state_dir: Path, *arguments: str) -> None:
        self.state_dir = state_dir
        self.ports = {"SERVER__POP3_PORT": free_port(), "SERVER__POP3S_PORT": free_port(), "ADMIN__PORT": free_port()}
        self._arguments = arguments
        self.output = ""

    def start(self) -> "Dev":
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bridge", "dev", "--state", str(self.state_dir), *self._arguments],
            env={**os.environ, **{f"BRIDGE_{name}": str(port) for name, port in self.ports.items()}},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        return self

    def wait_for_card(self) -> "Dev":
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if "Data stays in" in line:
                return self
        raise AssertionError(self.output)

    def client(self) -> RawClient:
        tls = ssl.create_default_context(cafile=str(self.state_dir / "certificate.pem"))
        return RawClient(self.ports["SERVER__POP3S_PORT"], tls=tls)

    def mail(self) -> list[bytes]:
        found = re.search(r"account +(\S+)\n +password +(\S+)", self.output)
        assert found is not None
        with self.client() as client:
            client.login(*found.groups())
            count = int(client.ok("STAT").split()[1])
            messages = [client.retrieve(number) for number in range(1, count + 1)]
            client.ok("QUIT")
        return messages

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        self.output += self.process.communicate(timeout=LIMIT_S)[0]
        return self.process.returncode

    def children(self) -> set[int]:
        """Processes that work on this state folder."""
        found = set()
        for entry in Path("/proc").iterdir() if sys.platform == "linux" else ():
            try:
                if entry.name.isdigit() and str(self.state_dir).encode() in (entry / "cmdline").read_bytes():
                    found.add(int(entry.name))
            except OSError:
                continue
        return found - {self.process.pid}


def canonical(octets: bytes) -> bytes:
    text = octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return text if not text or text.endswith(b"\r\n") else text + b"\r\n"


def test_sample_mail_is_served_kept_over_a_kill_and_a_restart_and_every_child_ends(tmp_path: Path) -> None:
    wanted = sorted(canonical(octets) for _, octets in sample_messages())
    first = Dev(tmp_path).start().wait_for_card()
    assert sorted(first.mail()) == wanted
    first.process.kill()
    first.process.communicate(timeout=LIMIT_S)
    left = first.children()

    second = Dev(tmp_path).start().wait_for_card()
    assert not left & second.children()
    assert sorted(second.mail()) == wanted
    assert second.stop(signal.SIGINT) == 0
    assert second.children() == set()


def test_mail_of_ones_own_is_served_alone_and_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    folder.mkdir()
    (folder / "a.eml").write_bytes(b"Subject: a\n\nmine\n")
    dev = Dev(tmp_path / "state", "--mail", str(folder)).start().wait_for_card()
    assert dev.mail() == [b"Subject: a\r\n\r\nmine\r\n"]
    assert dev.stop() == 0
    assert (folder / "a.eml").read_bytes() == b"Subject: a\n\nmine\n"


@pytest.mark.parametrize("arguments", [["--mail", "/nowhere"]])
def test_a_path_without_mail_is_told_in_one_line(tmp_path: Path, arguments: list[str]) -> None:
    dev = Dev(tmp_path, *arguments).start()
    assert dev.process.wait(LIMIT_S) == 1
    assert dev.process.communicate()[0].splitlines()[-1].startswith("pop3-bridge: /nowhere is no")


def test_a_busy_port_is_told_with_the_setting_that_moves_it_and_no_child_is_left(tmp_path: Path) -> None:
    dev = Dev(tmp_path)
    with socket.create_server(("127.0.0.1", dev.ports["SERVER__POP3_PORT"])):
        dev.start()
        output = dev.process.communicate(timeout=LIMIT_S)[0]
    assert dev.process.returncode == 1
    assert "BRIDGE_SERVER__POP3_PORT" in output
    assert "Traceback" not in output
    assert dev.children() == set()


def test_it_is_ready_again_with_its_data(tmp_path: Path) -> None:
    Dev(tmp_path).start().wait_for_card().stop()
    began = time.monotonic()
    dev = Dev(tmp_path).start().wait_for_card()
    print(f"ready again after {time.monotonic() - began:.1f} s")
    assert "Loaded" not in dev.output
    assert dev.stop() == 0
