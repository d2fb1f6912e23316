from pathlib import Path

import pytest

from bridge.maildrop.errors import ObjectUnreadable
from bridge.postgres.migrate import MigrationError
from tests.cli.certificates import make_certificate
from tests.cli.rig import AWAY, Rig

DENIED = ObjectUnreadable("AccessDenied")


@pytest.fixture
def rig(rig: Rig, tmp_path: Path) -> Rig:
    certificate_file, key_file = make_certificate(tmp_path, names=["pop.example.com"], days=365)
    rig.environment |= {
        "BRIDGE_TLS__CERTIFICATE_FILE": str(certificate_file),
        "BRIDGE_TLS__KEY_FILE": str(key_file),
    }
    return rig


def findings(out: str) -> list[str]:
    return [line for line in out.splitlines() if line.startswith(("ok ", "note ", "FAILED "))]


def only_failure(rig: Rig) -> str:
    said = rig.run("check")
    assert said.code == 1
    (failure,) = [line for line in findings(said.out) if line.startswith("FAILED")]
    return failure.removeprefix("FAILED  ")


def test_when_all_is_well_every_part_says_so_and_nothing_is_left_behind(rig: Rig) -> None:
    said = rig.run("check")
    assert said.code == 0
    assert findings(said.out) == [
        "ok      certificate for pop.example.com; ends in 364 days",
        "ok      Postgres answers, takes writes, and its schema is up to date",
        "ok      S3 lists mail",
        "ok      S3 takes objects and gives them back",
        "ok      S3 honours If-Match",
        "ok      S3 deletes objects",
    ]
    assert rig.bucket.objects == {}


def test_the_settings_in_force_are_shown_without_secrets(rig: Rig) -> None:
    rig.environment |= {"BRIDGE_S3__ACCESS_KEY_ID": "s3cret-id", "BRIDGE_S3__SECRET_ACCESS_KEY": "s3cret-key"}
    said = rig.run("check")
    assert f"{'BRIDGE_POSTGRES__URL:':30}********\n" in said.out
    assert f"{'BRIDGE_S3__SECRET_ACCESS_KEY:':30}********\n" in said.out
    assert f"{'BRIDGE_S3__BUCKET:':30}mail\n" in said.out
    assert "BRIDGE_SERVER" not in said.out
    assert "s3cret" not in said.out + said.err


def test_a_server_that_nobody_could_log_in_to_is_a_failure(rig: Rig) -> None:
    del rig.environment["BRIDGE_TLS__CERTIFICATE_FILE"], rig.environment["BRIDGE_TLS__KEY_FILE"]
    assert only_failure(rig).startswith("nobody could log in")
    rig.environment["BRIDGE_LOGIN__CLEARTEXT_NETWORKS"] = "10.0.0.0/8"
    said = rig.run("check")
    assert said.code == 0
    assert "note    no certificate: neither POP3S nor STLS is offered" in findings(said.out)


def test_a_certificate_that_will_not_do_is_a_failure(rig: Rig) -> None:
    Path(rig.environment["BRIDGE_TLS__KEY_FILE"]).unlink()
    assert only_failure(rig).endswith("tls.key cannot be read: No such file or directory")


def test_a_certificate_that_ends_soon_or_has_no_name_is_noted(rig: Rig, tmp_path: Path) -> None:
    make_certificate(tmp_path, names=[], days=13)
    said = rig.run("check")
    assert said.code == 0
    assert findings(said.out)[:3] == [
        "ok      certificate for no name at all; ends in 12 days",
        "note    the certificate ends soon: renew it; new files are used without a restart",
        "note    the certificate has no subject alternative name: most mail programs will not accept it",
    ]


def test_each_trouble_of_the_database_says_what_to_change(rig: Rig) -> None:
    rig.probe.takes_writes = False
    assert only_failure(rig).startswith("Postgres takes no writes: let BRIDGE_POSTGRES__URL lead to the primary")
    rig.probe.is_current = False
    assert only_failure(rig) == "Postgres answers, but its schema is not up to date: run `pop3-bridge migrate`"
    rig.probe.fault = AWAY
    assert only_failure(rig).startswith("Postgres does not answer (connection refused): see host, user and password")
    rig.probe.fault = MigrationError("migration 1 accounts was applied in another form")
    assert only_failure(rig) == "Postgres: migration 1 accounts was applied in another form"


def test_each_trouble_of_the_bucket_says_what_to_change(rig: Rig) -> None:
    rig.bucket.faults = {"delete": DENIED}
    assert only_failure(rig).endswith("(AccessDenied): is s3:DeleteObject allowed?")
    rig.bucket.faults = {"get": DENIED}
    assert only_failure(rig) == "S3 does not give back what was written (AccessDenied): is s3:GetObject allowed?"
    rig.bucket.faults = {"list": DENIED}
    assert only_failure(rig).startswith("S3 does not list mail (AccessDenied): is it there")
    rig.bucket.faults = {"list": AWAY}
    assert only_failure(rig).startswith("S3 does not answer (connection refused): see BRIDGE_S3__ENDPOINT_URL")


def test_a_bucket_that_may_not_be_written_is_noted_and_no_failure(rig: Rig) -> None:
    rig.bucket.faults = {"put": DENIED}
    said = rig.run("check")
    assert said.code == 0
    assert findings(said.out)[-1].startswith("note    S3 takes no objects from us (AccessDenied), so reading")


def test_a_store_without_conditional_reads_is_noted(rig: Rig) -> None:
    rig.bucket.ignores_conditions = True
    said = rig.run("check")
    assert said.code == 0
    assert any(line.startswith("note    S3 ignores If-Match") for line in findings(said.out))
    assert rig.bucket.objects == {}


def test_another_bucket_may_be_tried(rig: Rig) -> None:
    said = rig.run("check", "--bucket", "other")
    assert said.code == 1
    assert "FAILED  S3 does not list other (NoSuchBucket)" in said.out
    del rig.environment["BRIDGE_S3__BUCKET"]
    said = rig.run("check")
    assert said.code == 0
    assert findings(said.out)[-1] == "note    S3 was not tried: give --bucket, or set BRIDGE_S3__BUCKET"


def test_what_others_wrote_cannot_steer_the_terminal(rig: Rig) -> None:
    rig.probe.fault = type(AWAY)("bad\x1b[2J\nok      all is well")
    assert "(bad\\x1b[2J\\nok      all is well)" in only_failure(rig)
