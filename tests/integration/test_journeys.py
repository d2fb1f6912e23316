"""What a person does with the product, on a real Postgres and a real S3 server, through Python's own POP3 client."""

import asyncio
import poplib
import ssl
import time
from pathlib import Path

import asyncpg
import pytest

from tests.raw_client import RawClient
from tests.service import CLIENT_LIMIT_S, PASSWORD, Bucket, Service, retrieve, uidls

MAIL = b"From: a@example.com\r\nSubject: hello\r\n\r\nA body.\r\n"


def mail(number: int, body: bytes = b"A body.\r\n") -> bytes:
    return b"From: a@example.com\r\nSubject: mail %d\r\n\r\n" % number + body


def test_octets_are_served_exactly_and_announced_truly(service: Service, bucket: Bucket) -> None:
    bodies = [
        (b"canonical\r\n", b"canonical\r\n"),
        (b"bare\nLF\n", b"bare\r\nLF\r\n"),
        (b"no final newline", b"no final newline\r\n"),
        (b".dot\r\n..two\r\n.\r\nafter\r\n", b".dot\r\n..two\r\n.\r\nafter\r\n"),
        (b"lone\rCR\r\n", b"lone\rCR\r\n"),
        (b"\xff\x00\xfe\r\n", b"\xff\x00\xfe\r\n"),
        (b"x" * 300_000 + b"\n" + b".y\n" * 50_000, b"x" * 300_000 + b"\r\n" + b".y\r\n" * 50_000),
    ]
    for number, (stored, _) in enumerate(bodies):
        bucket.put(f"alice/{number:03}.eml", mail(number, stored))
    bucket.put("alice/zz-empty.eml", b"")
    with RawClient(service.pop3_port) as client:
        client.login("alice", PASSWORD)
        count, total = (int(word) for word in client.ok("STAT").split()[1:])
        assert count == len(bodies) + 1
        client.ok("LIST")
        listed = [int(line.split()[1]) for line in client.body().splitlines()]
        assert sum(listed) == total
        found = set()
        for number in range(1, count + 1):
            message = client.retrieve(number)
            assert len(message) == listed[number - 1]
            found.add(message)
        assert found == {mail(number, wanted) for number, (_, wanted) in enumerate(bodies)} | {b""}
        client.ok("QUIT")


def test_delete_and_quit_removes_the_object_and_keeps_every_other_uidl(service: Service, bucket: Bucket) -> None:
    for number in range(3):
        bucket.put(f"alice/{number}.eml", mail(number))
    with service.login("alice") as client:
        before = uidls(client)
        client.dele(2)
        assert client.quit().startswith(b"+OK")
    assert bucket.keys("alice/") == ["alice/0.eml", "alice/2.eml"]
    service.stop()
    service.start()
    with service.login("alice") as client:
        assert uidls(client) == [before[0], before[2]]


def test_without_quit_nothing_is_deleted_and_the_lease_is_free_at_once(service: Service, bucket: Bucket) -> None:
    bucket.put("alice/1.eml", mail(1))
    with RawClient(service.pop3_port) as client:
        client.login("alice", PASSWORD)
        client.ok("DELE 1")
        client.reset()
    deadline = time.monotonic() + 1.0
    while True:
        try:
            with service.login("alice") as again:
                assert again.stat()[0] == 1
                break
        except poplib.error_proto as refusal:
            assert "[IN-USE]" in str(refusal)
            assert time.monotonic() < deadline, "the dropped connection still held the lease after a second"
    assert bucket.keys("alice/") == ["alice/1.eml"]


def test_stls_and_pop3s_serve_the_same_mail(service: Service, bucket: Bucket, client_tls: ssl.SSLContext) -> None:
    bucket.put("alice/1.eml", MAIL)
    upgraded = poplib.POP3("127.0.0.1", service.pop3_port, timeout=CLIENT_LIMIT_S)
    upgraded.stls(context=client_tls)
    implicit = poplib.POP3_SSL("127.0.0.1", service.pop3s_port, timeout=CLIENT_LIMIT_S, context=client_tls)
    for client in (upgraded, implicit):
        client.user("alice")
        client.pass_(PASSWORD)
        assert retrieve(client, 1) == MAIL
        client.quit()


def test_a_second_login_anywhere_hears_in_use_and_gets_in_after_quit(
    service: Service, another_service: Service, bucket: Bucket
) -> None:
    bucket.put("alice/1.eml", MAIL)
    with service.login("alice") as first:
        with pytest.raises(poplib.error_proto, match=r"-ERR \[IN-USE\]"), another_service.login("alice"):
            pass
        first.quit()
    with another_service.login("alice") as second:
        assert second.stat()[0] == 1


def test_after_a_kill_the_next_login_gets_in_within_the_lease(
    service: Service, another_service: Service, bucket: Bucket
) -> None:
    bucket.put("alice/1.eml", MAIL)
    with service.login("alice") as first:
        first.dele(1)
        service.kill()
    started_at = time.monotonic()
    while True:
        try:
            with another_service.login("alice") as second:
                assert second.stat()[0] == 1
                break
        except poplib.error_proto as refusal:
            assert "[IN-USE]" in str(refusal)
            # The fixture's lease lasts 6 s.
            assert time.monotonic() - started_at < 6 + 5
            time.sleep(0.1)


def test_a_file_put_again_after_its_removal_is_a_new_message(service: Service, bucket: Bucket) -> None:
    bucket.put("alice/1.eml", MAIL)
    with service.login("alice") as client:
        [first] = uidls(client)
        client.dele(1)
        client.quit()
    bucket.put("alice/1.eml", MAIL)
    with service.login("alice") as client:
        [second] = uidls(client)
        assert second != first
        assert retrieve(client, 1) == MAIL
        client.dele(1)
        client.quit()
    bucket.put("alice/1.eml", MAIL)
    with service.login("alice") as client:
        [third] = uidls(client)
    assert len({first, second, third}) == 3


def test_a_copy_onto_itself_changes_no_uidl(service: Service, bucket: Bucket) -> None:
    bucket.put("alice/1.eml", MAIL)
    with service.login("alice") as client:
        before = uidls(client)
        client.quit()
    bucket.client.copy_object(
        Bucket=bucket.name,
        Key="alice/1.eml",
        CopySource={"Bucket": bucket.name, "Key": "alice/1.eml"},
        Metadata={"touched": "yes"},
        MetadataDirective="REPLACE",
    )
    with service.login("alice") as client:
        assert uidls(client) == before
        assert retrieve(client, 1) == MAIL


def test_the_same_text_under_another_etag_keeps_its_uidl_and_other_text_gets_a_new_one(
    service: Service, bucket: Bucket
) -> None:
    bucket.put("alice/1.eml", MAIL)
    with service.login("alice") as client:
        before = uidls(client)
        client.quit()
    bucket.put("alice/1.eml", MAIL.replace(b"\r\n", b"\n"))  # other octets, other etag, same canonical text
    with service.login("alice") as client:
        assert uidls(client) == before
        assert retrieve(client, 1) == MAIL
        client.quit()
    bucket.put("alice/1.eml", MAIL + b"More.\r\n")
    with service.login("alice") as client:
        assert uidls(client) != before
        assert retrieve(client, 1) == MAIL + b"More.\r\n"


def test_mail_that_was_just_written_shows_at_the_next_login(service: Service, bucket: Bucket) -> None:
    for number in range(1, 4):
        bucket.put(f"alice/{number}.eml", mail(number))
        with service.login("alice") as client:
            assert client.stat()[0] == number
            client.quit()


def test_an_object_that_is_gone_fails_only_its_own_retr(service: Service, bucket: Bucket) -> None:
    for number in range(1, 4):
        bucket.put(f"alice/{number}.eml", mail(number))
    with service.login("alice") as client:
        bucket.delete("alice/2.eml")
        with pytest.raises(poplib.error_proto, match="-ERR"):
            client.retr(2)
        assert retrieve(client, 3) == mail(3)
        client.dele(2)
        assert client.quit().startswith(b"+OK")
    assert bucket.keys("alice/") == ["alice/1.eml", "alice/3.eml"]


def test_an_object_that_was_replaced_in_a_session_is_not_served_under_the_old_number(
    service: Service, bucket: Bucket
) -> None:
    bucket.put("alice/1.eml", mail(1))
    with service.login("alice") as client:
        bucket.put("alice/1.eml", mail(1) + b"Other text.\r\n")
        with pytest.raises(poplib.error_proto, match="-ERR"):
            client.retr(1)
        client.dele(1)
        client.quit()
    # What was marked is gone from the maildrop, and what replaced it is a new message: nothing unseen was deleted.
    assert bucket.keys("alice/") == ["alice/1.eml"]
    with service.login("alice") as client:
        assert retrieve(client, 1) == mail(1) + b"Other text.\r\n"


def test_folder_markers_and_notices_are_no_mail_but_an_empty_object_is(service: Service, bucket: Bucket) -> None:
    bucket.put("alice/inbox/", b"")
    bucket.put("alice/AMAZON_SES_SETUP_NOTIFICATION", b"This is no mail.\r\n")
    bucket.put("alice/empty.eml", b"")
    with service.login("alice") as client:
        assert client.stat() == (1, 0)
        assert client.retr(1)[1] == []


def test_top_shows_headers_and_as_many_lines_as_asked(service: Service, bucket: Bucket) -> None:
    message = mail(1, b"one\r\n.two\r\nthree\r\n" + b"long " * 20_000 + b"\r\nend\r\n")
    bucket.put("alice/1.eml", message.replace(b"\r\n", b"\n"))
    with RawClient(service.pop3_port) as client:
        client.login("alice", PASSWORD)
        lines = message.splitlines(keepends=True)
        header_count = lines.index(b"\r\n") + 1
        for body_count in (0, 1, 2, 3, 4, 5, 99_999_999):
            client.ok(f"TOP 1 {body_count}")
            assert client.body() == b"".join(lines[: header_count + body_count])


def test_more_keys_than_a_page_holds_are_all_there(service: Service, bucket: Bucket, upload_many) -> None:
    count = 2_501
    upload_many({f"alice/{number:05}.eml": mail(number) for number in range(count)})
    with service.login("alice") as client:
        assert client.stat()[0] == count
        assert len(client.list()[1]) == count
        assert len(set(uidls(client))) == count
        assert retrieve(client, count).startswith(b"From: a@example.com\r\nSubject: mail ")
        for number in range(1, count + 1):
            client.dele(number)
        assert client.quit().startswith(b"+OK")
    service_is_idle = time.monotonic() + 30
    while bucket.keys("alice/") and time.monotonic() < service_is_idle:
        time.sleep(0.1)
    assert bucket.keys("alice/") == []
    with service.login("alice") as client:
        assert client.stat() == (0, 0)


def test_an_index_that_is_lost_is_rebuilt_with_the_same_uidls(service: Service, bucket: Bucket, drop_index) -> None:
    for number in range(20):
        bucket.put(f"alice/{number}.eml", mail(number))
    with service.login("alice") as client:
        before = uidls(client)
        client.quit()
    drop_index()
    with service.login("alice") as client:
        assert uidls(client) == before


def test_a_session_leaves_one_summary_line_and_nothing_secret(service: Service, bucket: Bucket) -> None:
    bucket.put("alice/1.eml", MAIL)
    with service.login("alice") as client:
        retrieve(client, 1)
        client.quit()
    with pytest.raises(poplib.error_proto, match=r"\[AUTH\]"), service.login("alice", "wrong secret"):
        pass
    service.stop()
    log = service.log()
    assert '"retrieved_count": 1' in log
    for secret in (PASSWORD, "wrong secret", "A body", "Subject: hello"):
        assert secret not in log


def test_health_metrics_and_an_orderly_end(service: Service, bucket: Bucket) -> None:
    bucket.put("alice/1.eml", MAIL)
    with service.login("alice") as client:
        retrieve(client, 1)
        client.dele(1)
        client.quit()
    assert service.http("/livez")[0] == 200
    assert service.http("/readyz")[0] == 200
    assert service.metric("pop3_bridge_messages_retrieved_total") == 1
    assert service.metric("pop3_bridge_messages_removed_total") == 1
    assert service.metric("pop3_bridge_octets_mismatches_total") == 0
    assert service.metric("pop3_bridge_sync_duration_seconds_count") >= 1
    assert service.metric("pop3_bridge_index_lag_seconds_count") == 1
    assert service.stop() == 0
    assert "Traceback" not in service.log()


def test_a_worker_needs_no_certificate_and_ends_in_order(
    environment: dict[str, str], bucket: Bucket, tmp_path: Path
) -> None:
    settings = {
        name: value for name, value in environment.items() if not name.startswith(("BRIDGE_TLS", "BRIDGE_LOGIN"))
    }
    worker = Service(settings, tmp_path / "worker.log", roles=("worker",)).start()
    assert worker.http("/livez")[0] == 200
    assert worker.stop() == 0
    assert "Traceback" not in worker.log()


def test_fifty_thousand_messages_are_listed_whole(
    environment: dict[str, str], database_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    count = 50_000
    asyncio.run(fill_index(database_url, count))
    settings = {**environment, "BRIDGE_SYNC__MIN_INTERVAL_S": "100000"}
    service = Service(settings, tmp_path / "service.log", roles=("pop3",)).start()
    request.addfinalizer(service.stop)
    with RawClient(service.pop3_port) as client:
        client.login("alice", PASSWORD)
        assert client.ok("STAT") == b"+OK %d %d" % (count, 700 * count)
        for command in ("UIDL", "LIST"):
            client.ok(command)
            assert len(client.body().splitlines()) == count
        client.ok("QUIT")
    assert service.metric('pop3_bridge_s3_calls_total{operation="list",outcome="ok"}') == 0


async def fill_index(database_url: str, count: int) -> None:
    """Rows without objects: they are listed, not read."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            """
            INSERT INTO message (maildrop_id, identity, object_key, etag, stored_octets, encoding, uidl, octets,
                header_octets, text_octets, text_header_octets, is_canonical, has_dot_lines, has_utf8_headers,
                digest, arrived_at)
            SELECT maildrop_id, 'm' || n, key_prefix || 'm' || n, md5(n::text), 700, 'identity', md5(n::text), 700,
                100, 700, 100, true, false, false, sha256(n::text::bytea), clock_timestamp()
            FROM maildrop, generate_series(1, $1::int) AS n
            """,
            count,
        )
        await connection.execute("UPDATE maildrop SET synced_at = clock_timestamp(), index_version = 1")
    finally:
        await connection.close()


def test_a_login_costs_as_many_statements_for_many_messages_as_for_one(
    environment: dict[str, str], bucket: Bucket, tmp_path: Path, upload_many, request: pytest.FixtureRequest
) -> None:
    service = Service(environment, tmp_path / "service.log", roles=("pop3",)).start()
    request.addfinalizer(service.stop)

    def statements_of_a_login() -> tuple[float, float]:
        def total(store: str) -> float:
            lines = service.http("/metrics")[1].splitlines()
            return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"pop3_bridge_{store}_calls"))

        with service.login("alice") as client:  # what is new is indexed here
            client.quit()
        before = total("postgres"), total("s3")
        with service.login("alice") as client:
            client.stat()
            client.uidl()
            client.quit()
        return total("postgres") - before[0], total("s3") - before[1]

    bucket.put("alice/first.eml", MAIL)
    of_one = statements_of_a_login()
    upload_many({f"alice/{number:05}.eml": mail(number) for number in range(600)})
    of_many = statements_of_a_login()
    # /metrics itself asks nothing; a readiness probe between the two readings would be one statement.
    assert of_many[0] <= of_one[0] + 1
    assert of_many[1] == of_one[1] == 1
