from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bridge.cli.certificate import CertificateProblem, examine_certificate
from tests.cli.certificates import make_certificate


def problem(certificate_file: Path, key_file: Path) -> str:
    with pytest.raises(CertificateProblem) as caught:
        examine_certificate(certificate_file, key_file)
    return str(caught.value)


def test_a_good_pair_tells_its_names_and_its_end(tmp_path: Path) -> None:
    certificate = examine_certificate(*make_certificate(tmp_path, names=["pop.example.com", "example.com"], days=30))
    assert certificate.names == ("pop.example.com", "example.com")
    left = certificate.ends_at - datetime.now(UTC)
    assert timedelta(days=29) < left <= timedelta(days=30)


def test_a_certificate_out_of_its_time_is_a_problem(tmp_path: Path) -> None:
    pair = make_certificate(tmp_path, names=["a"], days=-1)
    assert problem(*pair) == f"{pair[0]}: certificate has expired"
    pair = make_certificate(tmp_path, names=["a"], days=30, starts_in_days=2)
    assert problem(*pair) == f"{pair[0]}: certificate is not yet valid"


def test_the_key_of_another_certificate_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    certificate_file, _ = make_certificate(tmp_path, names=["a"], days=30)
    _, key_file = make_certificate(tmp_path / "other", names=["a"], days=30)
    assert problem(certificate_file, key_file) == f"{key_file} is not the key of {certificate_file}"


def test_an_encrypted_key_is_a_problem_and_asks_nobody(tmp_path: Path) -> None:
    pair = make_certificate(tmp_path, names=["a"], days=30, key_password=b"s3cret")
    assert problem(*pair) == f"{pair[1]} is encrypted: give it without a password"


@pytest.mark.parametrize("content", ["", "not PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_pem_is_a_problem(tmp_path: Path, content: str) -> None:
    certificate_file, key_file = make_certificate(tmp_path, names=["a"], days=30)
    certificate_file.write_text(content)
    assert "are not a certificate and its key in PEM form" in problem(certificate_file, key_file)


def test_a_file_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    assert problem(tmp_path / "c", tmp_path / "k") == f"{tmp_path}/c cannot be read: No such file or directory"
