"""The real service as a child process, on a real Postgres and a real S3 server, and a bucket to look into."""

import contextlib
import os
import poplib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import boto3
from botocore.config import Config

PASSWORD = "correct horse"
START_LIMIT_S = 30.0
STOP_LIMIT_S = 30.0
CLIENT_LIMIT_S = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Bucket:
    """A bucket as its owner sees it, by boto3: what the service must not be asked about itself."""

    def __init__(self, *, endpoint_url: str, access_key_id: str, secret_access_key: str, name: str) -> None:
        self.name = name
        self.environment = {
            "AWS_ACCESS_KEY_ID": access_key_id,
            "AWS_SECRET_ACCESS_KEY": secret_access_key,
            "BRIDGE_S3__ENDPOINT_URL": endpoint_url,
            "BRIDGE_S3__REGION": "us-east-1",
            "BRIDGE_S3__PATH_STYLE": "true",
            "BRIDGE_S3__BUCKET": name,
        }
        self.client = boto3.client(
            "s3",
            endpoint_url=endpoint_url,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )

    def put(self, key: str, body: bytes, **more: str) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=body, **more)

    def get(self, key: str) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=key)["Body"].read()

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return sorted(item["Key"] for page in pages for item in page.get("Contents", []))


@dataclass
class Service:
    """One `pop3-bridge serve` process (all roles unless told otherwise)."""

    environment: Mapping[str, str]
    log_file: Path
    roles: tuple[str, ...] = ()
    program: tuple[str, ...] = ("-m", "bridge")
    pop3_port: int = field(default_factory=free_port)
    pop3s_port: int = field(default_factory=free_port)
    admin_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> "Service":
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *self.program, "serve", *self.roles],
                env={
                    **{name: value for name, value in os.environ.items() if not name.startswith(("BRIDGE_", "AWS_"))},
                    "BRIDGE_SERVER__HOST": "127.0.0.1",
                    "BRIDGE_SERVER__POP3_PORT": str(self.pop3_port),
                    "BRIDGE_SERVER__POP3S_PORT": str(self.pop3s_port),
                    "BRIDGE_ADMIN__HOST": "127.0.0.1",
                    "BRIDGE_ADMIN__PORT": str(self.admin_port),
                    **self.environment,
                },
                stdout=log,
                stderr=log,
            )
        if wait:
            self.wait_until_ready()
        return self

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"the service ended at its start:\n{self.log()}")
            with contextlib.suppress(OSError, urllib.error.URLError):
                if self.http("/readyz")[0] == 200:
                    return
            time.sleep(0.02)
        raise AssertionError(f"the service was not ready in time:\n{self.log()}")

    def http(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metric(self, name_and_labels: str) -> float:
        lines = self.http("/metrics")[1].splitlines()
        return next((float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name_and_labels + " ")), 0.0)

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(STOP_LIMIT_S)

    def stop(self) -> int:
        """SIGTERM, as an orchestrator does; the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_LIMIT_S)
            raise AssertionError(f"the service did not stop in time:\n{self.log()}") from None

    @contextlib.contextmanager
    def login(self, name: str, password: str = PASSWORD) -> Iterator[poplib.POP3]:
        """A session in clear; left without QUIT when the block raises or does not say `quit`."""
        client = poplib.POP3("127.0.0.1", self.pop3_port, timeout=CLIENT_LIMIT_S)
        try:
            client.user(name)
            client.pass_(password)
            yield client
        finally:
            client.close()


def retrieve(client: poplib.POP3, number: int) -> bytes:
    """The message as a client holds it: canonical octets."""
    return b"".join(line + b"\r\n" for line in client.retr(number)[1])


def uidls(client: poplib.POP3) -> list[str]:
    return [line.split()[1].decode() for line in client.uidl()[1]]


def add_account(environment: Mapping[str, str], name: str, password: str) -> None:
    """By the command line, as an operator does."""
    subprocess.run(
        [sys.executable, "-m", "bridge", "account", "add", name, "--prefix", f"{name}/", "--password-stdin"],
        input=password.encode(),
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        timeout=START_LIMIT_S,
    )
