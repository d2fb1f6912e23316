import mailbox
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest

from bridge.dev.child import DevError
from bridge.dev.seed import read_mail, sample_messages


def everything_in(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.rglob("*") if file.is_file()}


def test_the_samples_are_the_same_each_time_under_names_of_their_own() -> None:
    samples = list(sample_messages())
    assert samples == list(sample_messages())
    assert len({name for name, _ in samples}) == len(samples) == 13


def test_the_samples_hold_what_makes_real_mail_hard() -> None:
    samples = [octets for _, octets in sample_messages()]
    assert b"" in samples
    assert any(b"\r\n.\r\n" in octets for octets in samples)
    assert any(octets and not octets.endswith(b"\n") for octets in samples)
    assert any(b"\r\n" in octets and b"\n" in octets.replace(b"\r\n", b"") for octets in samples)
    assert any(octets and b"\r\n\r\n" not in octets for octets in samples)  # no body
    assert any("Subject: Grüße, 你好".encode() in octets for octets in samples)
    assert any(b"Subject: =?utf-8?" in octets for octets in samples)
    assert any(len(line) >= 2_000 for octets in samples for line in octets.split(b"\r\n"))


def test_the_attachments_of_the_samples_can_be_decoded() -> None:
    parsed = [message_from_bytes(octets, policy=default) for _, octets in sample_messages()]
    sizes = [len(mail.get_content()) for mail in parsed if mail.get_content_type() == "application/octet-stream"]
    assert sizes == [2_000_000, 5_000_000]


@pytest.mark.parametrize("folders", [["cur", "new", "tmp"], ["cur"], ["new"]])
def test_the_mail_of_a_maildir_is_read_and_left_as_it_is(tmp_path: Path, folders: list[str]) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"1.{folder}").write_bytes(b"A: b\n\n" + folder.encode())
    before = everything_in(tmp_path)
    shown = [folder for folder in folders if folder != "tmp"]
    assert list(read_mail(tmp_path)) == [(f"1.{folder}", b"A: b\n\n" + folder.encode()) for folder in shown]
    assert everything_in(tmp_path) == before


def test_only_the_eml_files_of_a_folder_are_mail(tmp_path: Path) -> None:
    (tmp_path / "b.eml").write_bytes(b"B: 2\r\n")
    (tmp_path / "a.eml").write_bytes(b"A: 1\r\n")
    (tmp_path / "notes.txt").write_bytes(b"no mail")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "C.EML").write_bytes(b"C: 3\r\n")
    assert list(read_mail(tmp_path)) == [("a.eml", b"A: 1\r\n"), ("b.eml", b"B: 2\r\n"), ("C.EML", b"C: 3\r\n")]


def test_an_mbox_is_split_where_a_blank_line_comes_before_from_and_unquoted(tmp_path: Path) -> None:
    file = tmp_path / "old.mbox"
    file.write_bytes(
        b"From a@x Mon\nSubject: 1\n\nHello,\nFrom here on it is one mail.\n>From quoted\n>>From twice\n\n"
        b"From b@x Mon\nSubject: 2\n\n\xff\r\nend\n\n"
    )
    before = everything_in(tmp_path)
    assert list(read_mail(file)) == [
        ("old.mbox-000000.eml", b"Subject: 1\n\nHello,\nFrom here on it is one mail.\nFrom quoted\n>From twice\n"),
        ("old.mbox-000001.eml", b"Subject: 2\n\n\xff\r\nend\n"),
    ]
    assert everything_in(tmp_path) == before


def test_an_mbox_that_python_wrote_is_read_as_it_was(tmp_path: Path) -> None:
    mails = [f"Subject: {number}\n\n{'text ' * 100_000}\n".encode() for number in range(5)]
    box = mailbox.mbox(tmp_path / "box")
    for mail in mails:
        box.add(mail)
    box.close()
    assert [octets for _, octets in read_mail(tmp_path / "box")] == mails


@pytest.mark.parametrize("name", ["missing", "empty folder", "text", "empty file"])
def test_what_is_no_mail_is_refused_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty folder").mkdir()
    (tmp_path / "text").write_bytes(b"no mail\n")
    (tmp_path / "empty file").touch()
    with pytest.raises(DevError, match=f"{name} is no "):
        read_mail(tmp_path / name)
