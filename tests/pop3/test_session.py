"""What the transcripts cannot show: the driver's side of a session, and its ends."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from bridge.pop3.events import (
    DrainNeeded,
    EndReason,
    LastRequested,
    LoginRefusal,
    LoginRequested,
    MessageRefusal,
    MessageRequested,
    NeedData,
    SessionEnded,
    TlsRequested,
    UpdateRefusal,
    UpdateRequested,
)
from bridge.pop3.profile import SessionProfile
from bridge.pop3.session import LocalProtocolError, Session, SessionState
from bridge.sasl.credentials import PasswordCredentials
from tests.pop3.driver import ColumnListing, listing_of
from tests.pop3.transcript import DEFAULT_PROFILE

TLS_PROFILE = replace(DEFAULT_PROFILE, offers_tls=True, login_requires_tls=True)
MESSAGES = [b"A: 1\r\n\r\none\r\n", b"two\r\n"]
ALICE = PasswordCredentials("alice", "secret")


def greeted(profile: SessionProfile = DEFAULT_PROFILE) -> Session:
    session = Session(profile, tls_active=False)
    assert session.data_to_send() == b"+OK POP3 server ready\r\n"
    return session


def asked_to_log_in(profile: SessionProfile = DEFAULT_PROFILE) -> Session:
    session = greeted(profile)
    session.receive_data(b"USER alice\r\nPASS secret\r\n")
    assert session.next_event() == LoginRequested(ALICE)
    session.data_to_send()
    return session


def logged_in(messages: list[bytes] = MESSAGES, profile: SessionProfile = DEFAULT_PROFILE) -> Session:
    session = asked_to_log_in(profile)
    session.accept_login(listing_of(messages))
    session.data_to_send()
    return session


def answered(session: Session, octets: bytes) -> bytes:
    """What the session says to octets that ask for nothing of the driver."""
    session.receive_data(octets)
    assert isinstance(session.next_event(), NeedData | SessionEnded)
    return session.data_to_send()


# Requests


def test_a_session_asks_for_one_thing_at_a_time_and_keeps_what_is_pipelined() -> None:
    session = greeted()
    session.receive_data(b"USER alice\r\nPASS secret\r\nRETR 2\r\nSTAT\r\nQUIT\r\nNOOP\r\n")
    assert session.next_event() == LoginRequested(ALICE)
    assert session.data_to_send() == b"+OK send PASS\r\n"
    session.accept_login(listing_of(MESSAGES))
    assert session.state is SessionState.TRANSACTION
    assert session.next_event() == MessageRequested(2, None)
    assert session.data_to_send() == b"+OK maildrop locked and ready\r\n"
    encoder = session.begin_message()
    assert session.data_to_send() + encoder.encode(MESSAGES[1]) + encoder.finish() == b"+OK 5 octets\r\ntwo\r\n.\r\n"
    session.end_message()
    assert session.next_event() == UpdateRequested(())
    assert session.data_to_send() == b"+OK 2 18\r\n"
    session.complete_update()
    assert session.next_event() == SessionEnded(EndReason.QUIT)
    assert session.next_event() == SessionEnded(EndReason.QUIT)
    assert session.data_to_send() == b"+OK bye\r\n"


def test_a_refused_message_leaves_the_session_open() -> None:
    session = logged_in()
    session.receive_data(b"TOP 1 0\r\nNOOP\r\n")
    assert session.next_event() == MessageRequested(1, 0)
    session.refuse_message(MessageRefusal.TEMPORARY)
    assert session.next_event() == NeedData()
    assert session.data_to_send().startswith(b"-ERR [SYS/TEMP] the message cannot be read right now")


def test_last_is_the_higher_of_what_this_session_and_earlier_ones_retrieved() -> None:
    session = logged_in()
    session.receive_data(b"RETR 2\r\nLAST\r\nTOP 1 0\r\nLAST\r\nLAST\r\n")
    answers = []
    for earlier_number in (0, 1, 7):
        event = session.next_event()
        if isinstance(event, MessageRequested):
            session.begin_message()
            session.end_message()
            event = session.next_event()
        assert event == LastRequested()
        session.data_to_send()
        session.provide_last(earlier_number)
        answers.append(session.data_to_send())
    assert answers == [b"+OK 2\r\n", b"+OK 2\r\n", b"+OK 7\r\n"]


def test_last_can_be_refused() -> None:
    session = logged_in()
    session.receive_data(b"LAST\r\n")
    session.next_event()
    session.refuse_message(MessageRefusal.TEMPORARY)
    assert session.data_to_send().startswith(b"-ERR [SYS/TEMP] ")


@pytest.mark.parametrize(
    "answer",
    [
        Session.tls_established,
        lambda session: session.accept_login(listing_of([])),
        lambda session: session.refuse_login(LoginRefusal.IN_USE),
        Session.begin_message,
        Session.end_message,
        lambda session: session.refuse_message(MessageRefusal.GONE),
        lambda session: session.provide_last(0),
        Session.complete_update,
        lambda session: session.fail_update(UpdateRefusal.TEMPORARY),
    ],
)
def test_an_answer_that_was_not_asked_for_is_a_fault_of_the_driver(answer: Callable[[Session], object]) -> None:
    with pytest.raises(LocalProtocolError):
        answer(greeted())
    session = logged_in()
    with pytest.raises(LocalProtocolError):
        answer(session)
    assert answered(session, b"STAT\r\n") == b"+OK 2 18\r\n"


def test_asking_on_without_answering_is_a_fault_of_the_driver() -> None:
    with pytest.raises(LocalProtocolError):
        asked_to_log_in().next_event()


def test_a_message_begins_once_and_cannot_be_refused_then() -> None:
    session = logged_in()
    session.receive_data(b"RETR 1\r\n")
    session.next_event()
    session.begin_message()
    with pytest.raises(LocalProtocolError):
        session.begin_message()
    with pytest.raises(LocalProtocolError):
        session.refuse_message(MessageRefusal.TEMPORARY)
    assert session.data_to_send() == b"+OK 13 octets\r\n"


def test_commands_are_counted_by_verb_and_outcome_and_nothing_a_client_wrote_becomes_a_verb() -> None:
    session = logged_in()
    answered(session, b"stat\r\nLIST\r\nLIST 9\r\nSECRET x\r\n")
    assert session.command_counts == {
        ("USER", True): 1,
        ("PASS", True): 1,
        ("STAT", True): 1,
        ("LIST", True): 1,
        ("LIST", False): 1,
        ("other", False): 1,
    }


# Login


def test_empty_or_undecodable_passwords_never_reach_the_driver() -> None:
    session = greeted()
    assert answered(session, b"USER alice\r\nPASS \r\nUSER alice\r\nPASS \xff\r\n").count(b"-ERR [AUTH] ") == 2


@pytest.mark.parametrize(
    "refusal", [refusal for refusal in LoginRefusal if refusal is not LoginRefusal.BAD_CREDENTIALS]
)
def test_behind_a_refusal_that_may_pass_a_second_pass_alone_logs_in(refusal: LoginRefusal) -> None:
    session = asked_to_log_in()
    for _ in range(5):
        session.refuse_login(refusal)
        session.receive_data(b"PASS secret\r\n")
        assert session.next_event() == LoginRequested(ALICE)
    session.accept_login(listing_of([]))
    assert session.state is SessionState.TRANSACTION


def test_the_third_wrong_password_ends_the_session_and_nothing_behind_it_is_run() -> None:
    session = asked_to_log_in()
    session.refuse_login(LoginRefusal.BAD_CREDENTIALS)
    for _ in range(2):
        session.receive_data(b"USER alice\r\nPASS secret\r\nNOOP\r\n")
        while not isinstance(session.next_event(), LoginRequested):
            pass
        session.data_to_send()
        session.refuse_login(LoginRefusal.BAD_CREDENTIALS)
    assert session.next_event() == SessionEnded(EndReason.TOO_MANY_FAILED_LOGINS)
    assert session.data_to_send() == b"-ERR [AUTH] wrong name or password, too many failed logins\r\n"


def test_twenty_bad_commands_in_a_row_are_answered_and_the_next_ends_the_session() -> None:
    session = logged_in()
    assert answered(session, b"X\r\n" * 20) == b"-ERR unknown command\r\n" * 20
    assert answered(session, b"NOOP\r\n" + b"X\r\n" * 20).count(b"-ERR") == 20
    assert answered(session, b"X\r\nNOOP\r\n") == b"-ERR too many bad commands in a row\r\n"
    assert session.next_event() == SessionEnded(EndReason.TOO_MANY_BAD_COMMANDS)


# TLS


def test_stls_is_answered_before_tls_begins_and_what_was_learnt_is_forgotten() -> None:
    session = greeted(replace(TLS_PROFILE, login_requires_tls=False))
    session.receive_data(b"USER alice\r\nSTLS\r\n")
    assert session.next_event() == TlsRequested()
    assert session.data_to_send() == b"+OK send PASS\r\n+OK begin TLS now\r\n"
    session.tls_established()
    assert answered(session, b"PASS secret\r\n") == b"-ERR send USER first\r\n"


@pytest.mark.parametrize("behind", [b"NOOP\r\n", b"U", b"\0"])
def test_octets_that_came_in_one_piece_with_stls_end_the_session(behind: bytes) -> None:
    session = greeted(TLS_PROFILE)
    session.receive_data(b"STLS\r\n" + behind)
    assert session.next_event() == SessionEnded(EndReason.CLEARTEXT_BEHIND_STLS)
    assert session.data_to_send() == b"-ERR commands in clear behind STLS are not taken\r\n"


def test_octets_that_come_in_clear_before_the_handshake_end_the_session() -> None:
    session = greeted(TLS_PROFILE)
    session.receive_data(b"STLS\r\n")
    session.next_event()
    session.data_to_send()
    session.receive_data(b"USER alice\r\n")
    assert session.next_event() == SessionEnded(EndReason.CLEARTEXT_BEHIND_STLS)
    assert session.data_to_send() == b""
    with pytest.raises(LocalProtocolError):
        session.tls_established()


# Much to send


def test_a_long_listing_waits_for_the_driver_to_write() -> None:
    count = 100_000
    session = asked_to_log_in()
    session.accept_login(ColumnListing([1_000] * count, [f"{number:026}" for number in range(count)]))
    session.receive_data(b"UIDL\r\nNOOP\r\n")
    pieces = []
    while session.next_event() == DrainNeeded():
        pieces.append(session.data_to_send())
    pieces.append(session.data_to_send())
    assert max(map(len, pieces)) < 65_536 + 1_000 * 40
    lines = b"".join(pieces).split(b"\r\n")
    assert lines[:2] == [b"+OK maildrop locked and ready", b"+OK unique-id listing follows"]
    assert lines[2] == b"1 " + b"0" * 26
    assert lines[count + 1 :] == [b"100000 00000000000000000000099999", b".", b"+OK done nothing", b""]


def test_a_client_that_pipelines_without_reading_gets_no_more_than_the_limit_buffered() -> None:
    session = logged_in(profile=replace(DEFAULT_PROFILE, max_unsent_octets=100))
    session.receive_data(b"STAT\r\n" * 1_000)
    assert session.next_event() == DrainNeeded()
    assert session.next_event() == DrainNeeded()
    assert len(session.data_to_send()) < 100 + 20


# Ends


def test_what_came_whole_is_answered_behind_the_end_of_the_stream() -> None:
    session = logged_in()
    session.receive_data(b"DELE 1\r\nSTAT\r\nQUIT")
    session.receive_eof()
    assert session.next_event() == SessionEnded(EndReason.CLIENT_CLOSED)
    assert session.data_to_send() == b"+OK marked to be deleted\r\n+OK 1 5\r\n"


def test_a_quit_before_the_end_of_the_stream_counts() -> None:
    session = logged_in()
    session.receive_data(b"DELE 1\r\nQUIT\r\n")
    session.receive_eof()
    assert session.next_event() == UpdateRequested((1,))


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (EndReason.DRAINED, b"-ERR [SYS/TEMP] this server is being restarted, log in again\r\n"),
        (EndReason.LEASE_LOST, b"-ERR [SYS/TEMP] the maildrop went to another session, log in again\r\n"),
        (EndReason.INTERNAL_ERROR, b"-ERR [SYS/TEMP] something went wrong here, log in again\r\n"),
        (EndReason.IDLE, b""),
        (EndReason.LOGIN_TOO_SLOW, b""),
        (EndReason.CONNECTION_LOST, b""),
        (EndReason.WRITE_STALLED, b""),
    ],
)
def test_an_end_from_outside_is_told_between_commands_and_never_updates(reason: EndReason, words: bytes) -> None:
    session = logged_in()
    answered(session, b"DELE 1\r\n")
    session.receive_data(b"NOOP\r\nQUIT\r\n")
    session.end(reason)
    assert session.next_event() == SessionEnded(reason)
    assert session.data_to_send() == words


@pytest.mark.parametrize("command", [b"RETR 1\r\n", b"QUIT\r\n", b"LAST\r\n"])
def test_an_end_from_outside_answers_a_request_that_waits(command: bytes) -> None:
    session = logged_in()
    session.receive_data(command)
    session.next_event()
    session.end(EndReason.DRAINED)
    assert session.next_event() == SessionEnded(EndReason.DRAINED)
    assert session.data_to_send().startswith(b"-ERR [SYS/TEMP] ")


def test_an_end_from_outside_says_nothing_within_a_message() -> None:
    session = logged_in()
    session.receive_data(b"RETR 1\r\n")
    session.next_event()
    session.begin_message()
    session.data_to_send()
    session.end(EndReason.DRAINED)
    assert (session.next_event(), session.data_to_send()) == (SessionEnded(EndReason.DRAINED), b"")


def test_an_end_from_outside_says_nothing_within_a_listing() -> None:
    session = logged_in([b"x\r\n"] * 5_000, replace(DEFAULT_PROFILE, max_unsent_octets=100))
    session.receive_data(b"LIST\r\n")
    session.next_event()
    session.data_to_send()
    session.end(EndReason.DRAINED)
    assert (session.next_event(), session.data_to_send()) == (SessionEnded(EndReason.DRAINED), b"")


def test_an_end_from_outside_says_nothing_where_the_client_shakes_hands() -> None:
    session = greeted(TLS_PROFILE)
    session.receive_data(b"STLS\r\n")
    session.next_event()
    session.data_to_send()
    session.end(EndReason.DRAINED)
    assert (session.next_event(), session.data_to_send()) == (SessionEnded(EndReason.DRAINED), b"")


def test_the_first_end_stays() -> None:
    session = greeted()
    answered(session, b"QUIT\r\n")
    session.end(EndReason.DRAINED)
    session.receive_data(b"NOOP\r\n")
    assert (session.next_event(), session.data_to_send()) == (SessionEnded(EndReason.QUIT), b"")
    assert session.state is SessionState.ENDED
