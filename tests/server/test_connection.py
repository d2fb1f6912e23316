import asyncio
import contextlib
import logging
import socket
import ssl

import pytest

from bridge.accounts.ports import AccountsUnavailable
from bridge.maildrop.errors import (
    LoginTooSoon,
    MaildropBeingPrepared,
    NoSuchMaildrop,
    ObjectChanged,
    ObjectGone,
    ObjectUnreadable,
    OutcomeUnknown,
    StoreUnavailable,
)
from bridge.pop3.events import EndReason
from bridge.server.connection import ConnectionLimits
from bridge.server.tls import TlsContexts
from bridge.telemetry.metrics import Metrics
from tests.server.certificates import pair, trusting
from tests.server.rig import LIMIT_S, LOGIN, Client, Rig

QUICK = ConnectionLimits(login_timeout_s=LIMIT_S, idle_timeout_s=0.05, write_timeout_s=0.2)


@pytest.fixture
def rig(metrics: Metrics, tls: TlsContexts) -> Rig:
    return Rig(metrics, tls)


async def test_a_whole_session_is_answered_and_only_its_quit_removes(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with rig, Client(rig.ports[0]) as client:
        await client.login()
        await client.send(b"STAT\r\nRETR 1\r\nTOP 2 0\r\nDELE 1\r\n")
        assert await client.line() == b"+OK 2 28\r\n"
        assert await client.until(b"\r\n.\r\n") == b"+OK 21 octets\r\nSubject: a\r\n\r\nhello\r\n.\r\n"
        assert (await client.until(b"\r\n.\r\n")).endswith(b"..\r\n...\r\n.\r\n")
        assert (await client.line()).startswith(b"+OK")
        assert rig.maildrops.removed == []
        assert await client.command(b"QUIT") == b"+OK bye\r\n"
        assert await client.rest() == b""
    assert await rig.end() is EndReason.QUIT
    assert rig.maildrops.removed == [1]
    assert rig.maildrops.last is not None and rig.maildrops.last.retrieved == [1]
    assert rig.maildrops.last.release_calls[0] is True
    (summary,) = [entry.__dict__ for entry in caplog.records if entry.message == "session ended"]
    assert (summary["retrieved_count"], summary["top_count"], summary["removed_count"]) == (1, 1, 1)
    assert (summary["account_id"], summary["client"], summary["reason"]) == (7, "127.0.0.1", "quit")
    assert rig.sample("messages_retrieved_total") == 1
    assert rig.sample("commands_total", verb="DELE", result="ok") == 1
    assert rig.sample("open_sessions") == 0


async def test_a_session_in_one_segment_that_is_half_closed_gets_all_its_replies(rig: Rig) -> None:
    async with rig, Client(rig.ports[0]) as client:
        await client.send(LOGIN + b"STAT\r\nDELE 2\r\nQUIT\r\n")
        client.shut()
        replies = (await client.rest()).split(b"\r\n")
    assert [reply[:3] for reply in replies] == [b"+OK"] * 6 + [b""]
    assert await rig.end() is EndReason.QUIT
    assert rig.maildrops.removed == [2]


async def test_pipelined_messages_are_answered_whole_and_in_order(rig: Rig) -> None:
    rig.maildrops.messages = [bytes([letter]) * 2_000_000 + b"\r\n" for letter in b"abc"]
    async with rig, Client(rig.ports[0]) as client:
        await client.login()
        await client.send(b"RETR 1\r\nRETR 2\r\nRETR 3\r\nSTAT\r\n")
        for text in rig.maildrops.messages:
            assert await client.until(b"\r\n.\r\n") == b"+OK 2000002 octets\r\n" + text + b".\r\n"
        assert await client.line() == b"+OK 3 6000006\r\n"


@pytest.mark.parametrize("way", ["clear", "tls"])
@pytest.mark.parametrize("chunk_octets", [4_096, 65_536])
async def test_the_end_mark_behind_any_length_comes_at_once_and_in_one_piece(
    rig: Rig, chunk_octets: int, way: str
) -> None:
    lengths = [edge + more for edge in (4_096, 8_192, 16_384, 65_536) for more in range(-6, 7)]
    rig.maildrops.messages = [b"x" * (octets - 2) + b"\r\n" for octets in lengths]
    rig.maildrops.chunk_octets = chunk_octets
    async with rig, Client(rig.ports[way == "tls"], tls=trusting(pair()[0]) if way == "tls" else None) as client:
        await client.login()
        for number, octets in enumerate(lengths, 1):
            await client.send(b"RETR %d\r\n" % number)
            received = b""
            while not received.endswith(b"\r\n.\r\n"):
                assert not received.endswith((b"\r\n.\r", b"\r\n.")), "the end mark was cut"
                received += await client.segment()
            assert len(received) == len(b"+OK %d octets\r\n" % octets) + octets + 3
            assert await client.command(b"NOOP") == b"+OK done nothing\r\n"


async def test_a_small_message_with_its_status_line_and_end_mark_is_one_segment(rig: Rig) -> None:
    async with rig, Client(rig.ports[0]) as client:
        await client.login()
        for _ in range(50):
            await client.send(b"RETR 1\r\n")
            assert await client.segment() == b"+OK 21 octets\r\nSubject: a\r\n\r\nhello\r\n.\r\n"


async def test_replies_to_pipelined_commands_leave_together(rig: Rig) -> None:
    async with rig, Client(rig.ports[0]) as client:
        await client.login()
        await client.send(b"NOOP\r\n" * 40)
        assert await client.segment() == b"+OK done nothing\r\n" * 40


@pytest.mark.parametrize("short_by", [-1, 1])
async def test_a_message_that_is_not_as_long_as_announced_has_no_end(rig: Rig, short_by: int) -> None:
    rig.maildrops.announced = [21 + short_by, 7]
    async with rig, Client(rig.ports[0]) as client:
        await client.login()
        await client.send(b"RETR 1\r\n")
        with pytest.raises(ConnectionResetError):
            await client.rest()
    assert await rig.end() is EndReason.MESSAGE_CUT
    assert rig.sample("octets_mismatches_total") == 1
    assert rig.maildrops.distrusted == [1]
    assert rig.maildrops.last is not None and rig.maildrops.last.retrieved == []


async def test_a_source_that_fails_midway_never_makes_a_false_end(rig: Rig) -> None:
    rig.maildrops.messages = [b"x" * 99_998 + b"\r\n"]
    rig.maildrops.chunk_octets = 10_000
    rig.maildrops.fail_message, rig.maildrops.fail_behind_octets = StoreUnavailable("away"), 50_000
    async with rig, Client(rig.ports[0]) as client:
        await client.login()
        await client.send(b"DELE 1\r\n")
        await client.line()
        await client.send(b"RSET\r\nRETR 1\r\nQUIT\r\n")
        received = b""
        with pytest.raises(ConnectionResetError):
            while True:
                received += await client.segment()
    assert b"\r\n.\r\n" not in received
    assert await rig.end() is EndReason.MESSAGE_CUT
    assert rig.sample("message_octets_sent_total") == 50_000
    assert rig.maildrops.removed == [] and rig.maildrops.holder is None


@pytest.mark.parametrize(
    ("error", "reply"),
    [
        (ObjectGone("x"), b"-ERR the message is not there"),
        (ObjectChanged("x"), b"-ERR the message was replaced"),
        (ObjectUnreadable("x"), b"-ERR [SYS/PERM]"),
        (StoreUnavailable("x"), b"-ERR [SYS/TEMP]"),
    ],
)
async def test_a_message_that_cannot_be_had_is_refused_and_the_session_goes_on(
    rig: Rig, error: Exception, reply: bytes
) -> None:
    rig.maildrops.fail_message = error
    async with rig, Client(rig.ports[0]) as client:
        await client.login()
        assert (await client.command(b"RETR 1")).startswith(reply)
        rig.maildrops.fail_message = None
        await client.send(b"RETR 1\r\n")
        assert (await client.until(b"\r\n.\r\n")).startswith(b"+OK")


@pytest.mark.parametrize(
    ("error", "reply"),
    [
        (LoginTooSoon(), b"-ERR [LOGIN-DELAY]"),
        (MaildropBeingPrepared(), b"-ERR [SYS/TEMP] mailbox is being prepared"),
        (NoSuchMaildrop(), b"-ERR [SYS/PERM]"),
        (StoreUnavailable(), b"-ERR [SYS/TEMP]"),
        (AccountsUnavailable(), b"-ERR [SYS/TEMP]"),
    ],
)
async def test_a_login_that_cannot_be_hears_why_and_may_be_tried_again(
    rig: Rig, error: Exception, reply: bytes
) -> None:
    rig.maildrops.fail_open = error
    async with rig, Client(rig.ports[0]) as client:
        await client.line()
        await client.command(b"USER ann")
        assert (await client.command(b"PASS secret")).startswith(reply)
        rig.maildrops.fail_open = None
        assert (await client.command(b"PASS secret")).startswith(b"+OK")


async def test_a_second_session_hears_in_use_until_the_reply_to_the_first_ones_quit(rig: Rig) -> None:
    async with rig, Client(rig.ports[0]) as first, Client(rig.ports[0]) as second:
        await first.login()
        await second.line()
        await second.command(b"USER ann")
        assert (await second.command(b"PASS secret")).startswith(b"-ERR [IN-USE]")
        assert await first.command(b"QUIT") == b"+OK bye\r\n"
        assert (await second.command(b"PASS secret")).startswith(b"+OK")


@pytest.mark.parametrize(
    ("error", "reply"),
    [(StoreUnavailable("x"), b"-ERR [SYS/TEMP]"), (OutcomeUnknown("x"), b"-ERR [SYS/TEMP]")],
)
async def test_a_quit_that_could_not_remove_says_so(rig: Rig, error: Exception, reply: bytes) -> None:
    async def fail() -> None:
        raise error

    rig.maildrops.before_remove = fail
    async with rig, Client(rig.ports[0]) as client:
        await client.login()
        await client.command(b"DELE 1")
        assert (await client.command(b"QUIT")).startswith(reply)
    assert await rig.end() is EndReason.UPDATE_FAILED
    assert rig.maildrops.holder is None


async def test_a_quit_whose_objects_the_store_refuses_to_delete_says_so(rig: Rig) -> None:
    rig.maildrops.refused_count = 1
    async with rig, Client(rig.ports[0]) as client:
        await client.login()
        await client.command(b"DELE 1")
        assert (await client.command(b"QUIT")).startswith(b"-ERR [SYS/PERM]")


async def test_a_lost_connection_gives_the_maildrop_back_at_once_and_removes_nothing(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with rig:
        for _ in range(20):
            async with Client(rig.ports[0]) as client:
                await client.login()
                await client.command(b"DELE 1")
                client.reset()
            assert await rig.end() is EndReason.CONNECTION_LOST
            assert rig.maildrops.holder is None
    assert rig.maildrops.removed == []
    assert not [entry for entry in caplog.records if entry.exc_info or entry.levelno > logging.INFO]


async def test_an_end_of_stream_without_quit_removes_nothing(rig: Rig) -> None:
    async with rig, Client(rig.ports[0]) as client:
        await client.login()
        await client.command(b"DELE 1")
        client.shut()
        assert await client.rest() == b""
        assert await rig.end() is EndReason.CLIENT_CLOSED
    assert rig.maildrops.removed == [] and rig.maildrops.holder is None


async def test_a_quit_of_a_client_that_left_is_carried_out(rig: Rig) -> None:
    gone = asyncio.Event()
    rig.maildrops.before_remove = gone.wait  # type: ignore[assignment]
    async with rig:
        async with Client(rig.ports[0]) as client:
            await client.login()
            await client.send(b"DELE 1\r\nQUIT\r\n")
            await client.line()
            client.reset()
        gone.set()
        await rig.end()
    assert rig.maildrops.removed == [1] and rig.maildrops.holder is None


async def test_a_reset_stops_the_login_that_runs_for_it(rig: Rig) -> None:
    began, was_cancelled = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            was_cancelled.set()

    rig.logins.before = hang
    async with rig, Client(rig.ports[0]) as client:
        await client.line()
        await client.send(LOGIN)
        async with asyncio.timeout(LIMIT_S):
            await client.line()
            await began.wait()
            client.reset()
            await was_cancelled.wait()
        assert await rig.end() is EndReason.CONNECTION_LOST


async def test_a_silent_session_ends_without_a_word_and_removes_nothing(rig: Rig) -> None:
    rig.limits = QUICK
    async with rig, Client(rig.ports[0]) as client:
        await client.login()
        await client.send(b"DELE 1\r\n")
        assert (await client.rest()).count(b"\r\n") == 1
        assert await rig.end() is EndReason.IDLE
    assert rig.maildrops.removed == [] and rig.maildrops.holder is None


async def test_time_spent_in_the_server_is_not_the_clients_silence(rig: Rig) -> None:
    rig.limits = QUICK
    rig.maildrops.before_chunk = lambda: asyncio.sleep(3 * QUICK.idle_timeout_s)
    async with rig, Client(rig.ports[0]) as client:
        await client.send(LOGIN + b"RETR 1\r\nNOOP\r\n")
        assert (await client.rest()).endswith(b"hello\r\n.\r\n+OK done nothing\r\n")
        assert await rig.end() is EndReason.IDLE


async def test_each_command_begins_the_time_of_silence_anew(rig: Rig) -> None:
    rig.limits = ConnectionLimits(idle_timeout_s=0.5)
    loop = asyncio.get_running_loop()
    async with rig, Client(rig.ports[0]) as client:
        await client.login()
        logged_in_at = loop.time()
        while loop.time() < logged_in_at + 2 * rig.limits.idle_timeout_s:
            assert await client.command(b"NOOP") == b"+OK done nothing\r\n"


async def test_a_slow_reader_is_neither_idle_nor_stalled_as_long_as_it_takes_octets(rig: Rig) -> None:
    rig.limits = ConnectionLimits(idle_timeout_s=0.2, write_timeout_s=0.2)
    rig.maildrops.messages = [b"x" * 5_999_998 + b"\r\n"]
    async with rig, Client(rig.ports[0], receive_octets=65_536) as client:
        await client.login()
        await client.send(b"RETR 1\r\n")
        received = 0
        while received < 6_000_000:
            received += len(await client.segment(200_000))
            await asyncio.sleep(0.02)
        assert rig.ends.empty()


async def test_a_reader_that_takes_nothing_is_cut_and_the_maildrop_is_free(rig: Rig) -> None:
    rig.limits = ConnectionLimits(write_timeout_s=0.1)
    rig.maildrops.messages = [b"x" * 19_999_998 + b"\r\n"]
    async with rig, Client(rig.ports[0], receive_octets=4_096) as client:
        await client.login()
        await client.send(b"RETR 1\r\n")
        assert await rig.end() is EndReason.WRITE_STALLED
        assert rig.maildrops.holder is None
        assert rig.maildrops.sent_chunk_count < 150, "the message was not kept in memory"


async def test_the_time_to_log_in_is_not_prolonged_by_octets(rig: Rig) -> None:
    rig.limits = ConnectionLimits(login_timeout_s=0.3)
    async with rig, Client(rig.ports[0]) as client:
        await client.line()

        async def drip() -> None:
            with pytest.raises(OSError):
                while True:
                    await client.send(b"N")
                    await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        assert await rig.end() is EndReason.LOGIN_TOO_SLOW
        await dripping


async def test_clients_that_are_slow_to_log_in_keep_nobody_out(rig: Rig) -> None:
    async with rig, contextlib.AsyncExitStack() as stack:
        for _ in range(50):
            slow = await stack.enter_async_context(Client(rig.ports[0]))
            await slow.send(b"U")
        async with Client(rig.ports[0]) as client:
            await client.login()
            assert await client.command(b"QUIT") == b"+OK bye\r\n"


async def test_a_session_that_the_end_of_the_process_cuts_removes_nothing_and_gives_the_maildrop_back(
    rig: Rig,
) -> None:
    async with rig, Client(rig.ports[0]) as client:
        await client.login()
        await client.command(b"DELE 1")
        assert rig.listener is not None
        await rig.listener.close()
        with pytest.raises(ConnectionResetError):
            await client.rest()
    assert rig.maildrops.removed == [] and rig.maildrops.holder is None
    assert rig.sample("session_ends_total", reason="drained") == 1


async def test_a_line_without_end_is_refused_and_not_kept(rig: Rig) -> None:
    async with rig, Client(rig.ports[0]) as client:
        await client.line()
        await client.send(b"A" * 1_000_000 + b"\r\nNOOP\r\n")
        client.shut()
        assert (await client.rest()).count(b"-ERR") == 2
        assert await rig.end() is EndReason.CLIENT_CLOSED


async def test_an_idle_session_whose_lease_is_lost_is_told_and_ended(rig: Rig) -> None:
    async with rig, Client(rig.ports[0]) as client:
        await client.login()
        await client.command(b"DELE 1")
        assert rig.maildrops.holder is not None
        rig.maildrops.holder.lost.set()
        assert (await client.rest()).startswith(b"-ERR [SYS/TEMP]")
        assert await rig.end() is EndReason.LEASE_LOST
    assert rig.maildrops.removed == []


async def test_a_lease_lost_within_a_transfer_lets_it_end_and_then_ends_the_session(rig: Rig) -> None:
    async def lose() -> None:
        assert rig.maildrops.holder is not None
        rig.maildrops.holder.lost.set()

    rig.maildrops.before_chunk = lose
    async with rig, Client(rig.ports[0]) as client:
        await client.login()
        await client.send(b"DELE 2\r\nRETR 1\r\nQUIT\r\n")
        assert b"hello\r\n.\r\n-ERR [SYS/TEMP]" in await client.rest()
        assert await rig.end() is EndReason.LEASE_LOST
    assert rig.maildrops.removed == []


async def test_a_lease_lost_within_quit_removes_nothing(rig: Rig) -> None:
    async def lose() -> None:
        assert rig.maildrops.holder is not None
        rig.maildrops.holder.lost.set()

    rig.maildrops.before_remove = lose
    async with rig, Client(rig.ports[0]) as client:
        await client.login()
        await client.command(b"DELE 1")
        assert (await client.command(b"QUIT")).startswith(b"-ERR [SYS/TEMP]")
        assert await rig.end() is EndReason.UPDATE_FAILED
    assert rig.maildrops.removed == []


async def test_a_fault_in_one_session_is_logged_and_told_and_harms_no_other(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.maildrops.fail_message = ValueError("a fault of this program")
    async with rig, Client(rig.ports[0]) as other, Client(rig.ports[0]) as client:
        await other.line()
        await client.login()
        await client.send(b"RETR 1\r\n")
        assert (await client.rest()).startswith(b"-ERR [SYS/TEMP]")
        assert await rig.end() is EndReason.INTERNAL_ERROR
        assert rig.maildrops.holder is None
        assert (await other.command(b"CAPA")).startswith(b"+OK")
    (entry,) = [entry for entry in caplog.records if entry.exc_info]
    assert entry.__dict__["connection_id"]
    assert rig.sample("unexpected_errors_total", place="session") == 1


async def test_random_octets_end_only_their_own_session(rig: Rig) -> None:
    async with rig, Client(rig.ports[0]) as other:
        await other.login()
        for seed in range(30):
            async with Client(rig.ports[0]) as client:
                await client.send(bytes((seed * 37 + index * index) % 256 for index in range(3_000)))
                client.shut()
                await client.rest()
            assert await rig.end() is not EndReason.INTERNAL_ERROR
        assert await other.command(b"NOOP") == b"+OK done nothing\r\n"


# TLS


async def test_after_stls_the_session_goes_on_in_tls(rig: Rig) -> None:
    async with rig, Client(rig.ports[0]) as client:
        await client.line()
        await client.send(b"STLS\r\n")
        assert (await client.segment()).startswith(b"+OK")  # all that comes in clear, before any handshake
        await client.start_tls(trusting(pair()[0]))
        assert (await client.command(b"STLS")).startswith(b"-ERR")
        await client.send(b"CAPA\r\n")
        assert b"STLS" not in await client.until(b"\r\n.\r\n")
        await client.send(LOGIN + b"RETR 1\r\nQUIT\r\n")
        assert b"hello\r\n.\r\n+OK bye\r\n" in await client.rest()
    assert await rig.end() is EndReason.QUIT
    assert rig.sample("tls_handshakes_total", version="TLSv1.3") == 1


@pytest.mark.parametrize("behind", [b"NOOP\r\n", b"USER evil\r\nPASS secret\r\n"])
async def test_octets_in_clear_behind_stls_are_never_run(rig: Rig, behind: bytes) -> None:
    async with rig, Client(rig.ports[0]) as client:
        await client.line()
        await client.send(b"STLS\r\n" + behind)
        assert (await client.rest()).startswith(b"-ERR")
    assert await rig.end() is EndReason.CLEARTEXT_BEHIND_STLS
    assert rig.logins.clients == []


async def test_a_failed_handshake_behind_stls_ends_the_session_quietly(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig, Client(rig.ports[0]) as client:
        await client.line()
        await client.command(b"STLS")
        await client.send(b"this is no TLS at all, whatever it is\r\n")
        assert await rig.end() is EndReason.TLS_FAILED
    assert rig.sample("tls_handshake_failures_total") == 1
    assert not [entry for entry in caplog.records if entry.exc_info]


async def test_stls_is_refused_where_there_is_no_certificate(metrics: Metrics) -> None:
    rig = Rig(metrics, None)
    rig.profile = type(rig.profile)(implementation=None, offers_tls=False, login_requires_tls=False)
    rig.doors = type(rig.doors)("127.0.0.1", 0, None)
    async with rig, Client(rig.ports[0]) as client:
        await client.line()
        assert (await client.command(b"STLS")).startswith(b"-ERR")
        assert (await client.command(b"STLS now")).startswith(b"-ERR")
        assert (await client.command(b"QUIT")).startswith(b"+OK")


async def test_a_session_in_tls_from_the_start_is_served(rig: Rig) -> None:
    async with rig, Client(rig.ports[1], tls=trusting(pair()[0])) as client:
        await client.login()
        assert (await client.command(b"STLS")).startswith(b"-ERR")
        await client.command(b"DELE 1")
        assert await client.command(b"QUIT") == b"+OK bye\r\n"
    assert await rig.end() is EndReason.QUIT
    assert rig.maildrops.removed == [1]


async def test_a_close_notify_behind_quit_does_not_keep_the_update_from_being_done(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with rig:
        async with Client(rig.ports[1], tls=trusting(pair()[0])) as client:
            await client.login()
            await client.send(b"DELE 1\r\nQUIT\r\n")
            with contextlib.suppress(ssl.SSLError):  # replies that cross the close_notify
                await asyncio.to_thread(client.socket.unwrap)  # type: ignore[attr-defined]
        await rig.end()
    assert rig.maildrops.removed == [1] and rig.maildrops.holder is None
    assert not [entry for entry in caplog.records if entry.levelno > logging.INFO]


async def test_a_session_whose_goodbye_comes_with_it_in_tls_is_carried_out(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    async with rig, Client(rig.ports[1], tls=trusting(pair()[0])) as client:
        await client.line()
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)  # the commands and close_notify in one segment
        await client.send(LOGIN + b"STAT\r\nDELE 1\r\nQUIT\r\n")
        with contextlib.suppress(OSError):
            await asyncio.to_thread(client.socket.unwrap)  # type: ignore[attr-defined]
        assert await rig.end() is EndReason.QUIT
    assert rig.maildrops.removed == [1] and rig.maildrops.holder is None
    assert caplog.records == []


@pytest.mark.parametrize("way", ["close_notify", "end of stream"])
async def test_a_message_that_a_client_in_tls_did_not_wait_for_keeps_its_quit_from_removing(rig: Rig, way: str) -> None:
    has_left = asyncio.Event()
    rig.logins.before = has_left.wait  # type: ignore[assignment]
    async with rig, Client(rig.ports[1], tls=trusting(pair()[0])) as client:
        await client.line()
        await client.send(LOGIN + b"RETR 1\r\nDELE 1\r\nQUIT\r\n")
        assert (await client.line()).startswith(b"+OK")
        if way == "close_notify":
            await asyncio.to_thread(client.socket.unwrap)  # type: ignore[attr-defined]
        else:
            await asyncio.to_thread(hang_up, client.socket)
        has_left.set()
        assert await rig.end() is EndReason.CONNECTION_LOST
    assert rig.maildrops.removed == [] and rig.maildrops.holder is None


def hang_up(connection: socket.socket) -> None:
    """End the stream without the goodbye of TLS, and wait until the server has seen it."""
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(1_000_000):
        continue


async def test_a_big_message_is_sent_whole_through_tls(rig: Rig) -> None:
    rig.maildrops.messages = [b"x" * 2_999_998 + b"\r\n"]
    async with rig, Client(rig.ports[1], tls=trusting(pair()[0])) as client:
        await client.login()
        await client.send(b"RETR 1\r\n")
        assert len(await client.until(b"\r\n.\r\n")) == len(b"+OK 3000000 octets\r\n") + 3_000_000 + 3


async def test_a_tls_hello_on_the_port_for_clear_text_is_ended_at_once(rig: Rig) -> None:
    async with rig, Client(rig.ports[0]) as client:
        await client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"r" * 500)
        assert (await client.rest()).count(b"\r\n") == 1  # the greeting
    assert await rig.end() is EndReason.TLS_FAILED
