"""curl, as the README shows it."""

import subprocess

import pytest

from tests.service import PASSWORD, Bucket, Service

MAIL = b"From: a@example.com\r\nSubject: hello\r\n\r\n.a dot\r\n"


def curl(service: Service, path: str, *options: str, scheme: str) -> bytes:
    port = service.pop3s_port if scheme == "pop3s" else service.pop3_port
    return subprocess.run(
        ["curl", "-s", "-S", "-k", "--max-time", "30", *options, f"{scheme}://127.0.0.1:{port}/{path}"],
        check=True,
        capture_output=True,
    ).stdout


@pytest.mark.parametrize(
    ("scheme", "options"),
    [
        ("pop3s", []),
        ("pop3", ["--ssl-reqd"]),
        ("pop3", []),
        ("pop3s", ["--login-options", "AUTH=PLAIN"]),
        ("pop3s", ["--login-options", "AUTH=LOGIN"]),
        ("pop3s", ["--sasl-ir"]),
    ],
)
def test_mail_is_listed_fetched_and_deleted(service: Service, bucket: Bucket, scheme: str, options: list[str]) -> None:
    bucket.put("alice/1.eml", MAIL)
    options = ["--user", f"alice:{PASSWORD}", *options]
    assert curl(service, "", *options, scheme=scheme) == b"1 %d\r\n" % len(MAIL)
    assert curl(service, "1", *options, scheme=scheme) == MAIL
    curl(service, "1", "-I", "-X", "DELE", *options, scheme=scheme)
    assert bucket.keys("alice/") == []
