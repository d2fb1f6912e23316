"""Mail to try the product with: samples of what real mail holds, or a person's own."""

import base64
import random
from collections.abc import Iterator
from pathlib import Path

from bridge.dev.child import DevError
from bridge.mail.mbox import Extent, FromUnquoter, MboxSplitter

_HEAD = "From: Ada <ada@example.com>\r\nTo: demo@example.com\r\nDate: Wed, 25 Nov 2026 10:{minute:02}:00 +0000\r\n"
_PIECE_OCTETS = 1 << 20


def sample_messages() -> Iterator[tuple[str, bytes]]:
    """A dozen messages and an empty object, the same each time, as (name, octets)."""
    bodies: list[tuple[str, bytes]] = [
        ("Welcome", b"This mail lies in S3.\r\n"),
        ("=?utf-8?B?R3LDvMOfZSBhdXMgS8O2bG4=?=", b"An encoded subject.\r\n"),
        ("Grüße, 你好", "A subject in plain UTF-8. Größe, Maß.\r\n".encode()),
        ("Dots", b".a line that begins with a dot\r\n..two dots\r\n.\r\nand a dot alone above\r\n"),
        ("Bare line feeds", b"one\ntwo\nthree\n"),
        ("Mixed line ends", b"one\r\ntwo\nthree\r\n"),
        ("No final newline", b"the end comes without one"),
        ("A long line", b"x" * 2_000 + b"\r\n"),
        ("Eight bits", bytes(range(0xA0, 0x100)) + b"\r\n"),
        ("A photo of 2 MB", _attachment(2_000_000)),
        ("A video of 5 MB", _attachment(5_000_000)),
    ]
    for number, (subject, body) in enumerate(bodies):
        head = _HEAD.format(minute=number) + f"Subject: {subject}\r\n"
        yield f"sample-{number:02}.eml", head.encode() + (b"" if body.startswith(b"MIME") else b"\r\n") + body
    yield "sample-11.eml", (_HEAD.format(minute=11) + "Subject: A header without a body\r\n").encode()
    yield "sample-12.eml", b""


def _attachment(octet_count: int) -> bytes:
    data = base64.encodebytes(random.Random(octet_count).randbytes(octet_count)).replace(b"\n", b"\r\n")  # noqa: S311
    return (
        b'MIME-Version: 1.0\r\nContent-Type: application/octet-stream; name="data.bin"\r\n'
        b"Content-Transfer-Encoding: base64\r\n\r\n" + data
    )


def read_mail(path: Path) -> Iterator[tuple[str, bytes]]:
    """The messages of a Maildir, an mbox file or a folder with .eml files at any depth, as (name, octets).

    Nothing is changed there.

    Raises DevError, before the first message, when the path is none of these.
    """
    if path.is_file():
        return _read_mbox(path)
    folders = [folder for folder in (path / "cur", path / "new") if folder.is_dir()]
    if folders:
        files = sorted(file for folder in folders for file in folder.iterdir() if file.is_file())
    else:
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() == ".eml" and file.is_file())
    if not files:
        raise DevError(f"{path} is no Maildir with mail, no mbox file and no folder of .eml files")
    return ((file.name, file.read_bytes()) for file in files)


def _read_mbox(path: Path) -> Iterator[tuple[str, bytes]]:
    splitter = MboxSplitter()
    extents: list[Extent] = []
    with path.open("rb") as file:
        if not file.read(5).startswith(b"From "):
            raise DevError(f"{path} is no mbox file: it does not begin with a 'From ' line")
        file.seek(0)
        while piece := file.read(_PIECE_OCTETS):
            extents += splitter.feed(piece)
        extents += splitter.finish()
    return ((f"{path.name}-{number:06}.eml", _cut(path, extent)) for number, extent in enumerate(extents))


def _cut(path: Path, extent: Extent) -> bytes:
    with path.open("rb") as file:
        file.seek(extent.first_octet)
        unquoter = FromUnquoter()
        return unquoter.feed(file.read(extent.stored_octets)) + unquoter.finish()
