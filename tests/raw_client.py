"""A strict POP3 client of few lines: any line length, every octet kept, nothing forgiven."""

import socket
import ssl
from types import TracebackType

LIMIT_S = 60.0


class RawClient:
    def __init__(self, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self.socket: socket.socket = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self._file = self.socket.makefile("rb")
        self.greeting = self.line()

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def reset(self) -> None:
        """End the connection as a crashed machine or a middlebox does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def line(self) -> bytes:
        """One reply line without its CRLF; b"" at the end of the stream."""
        line = self._file.readline()
        assert line == b"" or line.endswith(b"\r\n"), line
        return line[:-2]

    def command(self, text: str) -> bytes:
        """Send one command, read one reply line."""
        self.send(text.encode() + b"\r\n")
        return self.line()

    def ok(self, text: str) -> bytes:
        reply = self.command(text)
        assert reply.startswith(b"+OK"), reply
        return reply

    def body(self) -> bytes:
        """The rest of a multi-line reply, dots un-stuffed."""
        octets = bytearray()
        while True:
            line = self._file.readline()
            assert line.endswith(b"\r\n"), "the connection ended within a multi-line reply"
            if line == b".\r\n":
                return bytes(octets)
            octets += line[1:] if line.startswith(b".") else line

    def octets(self, least_count: int) -> int:
        """Throw a long multi-line reply away, fast; how many octets it had, at least `least_count`."""
        count, tail = 0, b""
        while not tail.endswith(b"\r\n.\r\n"):
            data = self._file.read1(1_000_000)  # type: ignore[attr-defined]
            assert data, "the connection ended within a multi-line reply"
            count += len(data)
            tail = (tail + data)[-5:]
        assert count >= least_count
        return count

    def login(self, name: str, password: str) -> None:
        self.ok(f"USER {name}")
        self.ok(f"PASS {password}")

    def retrieve(self, number: int) -> bytes:
        self.ok(f"RETR {number}")
        return self.body()
