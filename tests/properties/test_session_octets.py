"""Whatever octets arrive, in whatever pieces, and whatever is answered: the session answers or ends."""

import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

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
from bridge.pop3.session import Session, SessionState
from tests.pop3.driver import PureDriver, listing_of
from tests.pop3.transcript import DEFAULT_PROFILE, Scene, SceneAccount

MESSAGES = [b"A: 1\r\n\r\n.one\r\n", b"", b"two\r\n.\r\n"]
PROFILE = SessionProfile(implementation="x", offers_tls=True, login_requires_tls=False, max_unsent_octets=200)
SCENE = Scene(
    name="any octets",
    title="",
    profile=DEFAULT_PROFILE,
    tls_active=False,
    accounts=(SceneAccount("alice", "secret"),),
    messages=tuple(MESSAGES),
    unreadable={},
    update_refusal=None,
    last_number=0,
    removed=(),
    may_pipeline=True,
    steps=(),
)
STATUS_LINE = re.compile(rb"(\+OK [ -~]+|-ERR [ -~]+|\+ [A-Za-z0-9+/=]*)")
MULTI_LINE = re.compile(
    rb"\+OK (scan listing|unique-id listing|capabilities|mechanisms|top of message) follows?|\+OK \d+ octets"
)

words = st.sampled_from(
    b"USER PASS AUTH STLS STAT LIST UIDL RETR TOP DELE RSET LAST NOOP CAPA QUIT APOP XYZZY PLAIN LOGIN alice secret "
    b"1 2 3 0 99999999999 = * AGFsaWNlAHNlY3JldA== YWxpY2U= \xff\xfe \r \0".split(b" ")
)
usual_lines = st.sampled_from(
    [
        b"USER alice", b"PASS secret", b"AUTH PLAIN AGFsaWNlAHNlY3JldA==", b"AUTH LOGIN", b"AUTH", b"CAPA", b"STLS",
        b"STAT", b"LIST", b"UIDL", b"RETR 1", b"TOP 1 0", b"DELE 1", b"DELE 2", b"RSET", b"LAST", b"NOOP", b"QUIT",
    ]
)  # fmt: skip
odd_lines = st.one_of(st.lists(words, max_size=4).map(b" ".join), st.binary(max_size=40), st.just(b"x" * 17_000))
lines = st.one_of(usual_lines, usual_lines, usual_lines, odd_lines)
logins = st.sampled_from([b"", b"USER alice\r\nPASS secret\r\n"])
line_ends = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b""])
scripts = st.builds(
    lambda login, parts: login + b"".join(line + end for line, end in parts),
    logins,
    st.lists(st.tuples(lines, line_ends), max_size=30),
)


def cut(data: st.DataObject, octets: bytes) -> list[bytes]:
    positions = sorted(data.draw(st.sets(st.integers(1, max(len(octets) - 1, 1)), max_size=8), label="cuts"))
    edges = [0, *positions, len(octets)]
    return [octets[first:last] for first, last in pairwise(edges)]


def answer(session: Session, event: object, data: st.DataObject) -> bytes:
    """Some answer; what the driver sends for it."""
    is_good = data.draw(st.booleans(), label="is good")
    match event:
        case TlsRequested():
            session.tls_established()
        case LoginRequested():
            if is_good:
                session.accept_login(listing_of(MESSAGES))
            else:
                session.refuse_login(data.draw(st.sampled_from(LoginRefusal)))
        case MessageRequested(number, body_lines):
            if not is_good:
                session.refuse_message(data.draw(st.sampled_from(MessageRefusal)))
                return b""
            encoder = session.begin_message()
            sent = session.data_to_send() + encoder.encode(MESSAGES[number - 1]) + encoder.finish()
            assert body_lines is not None or encoder.canonical_octets == len(MESSAGES[number - 1])
            session.end_message()
            return sent
        case LastRequested():
            session.provide_last(data.draw(st.integers(0, 5)))
        case UpdateRequested():
            if is_good:
                session.complete_update()
            else:
                session.fail_update(data.draw(st.sampled_from(UpdateRefusal)))
    return b""


def assert_well_formed(sent: bytes) -> None:
    """Status lines, challenges and dot-ended blocks, nothing else."""
    assert sent.endswith(b"\r\n")
    is_multi_line = False
    for line in sent[:-2].split(b"\r\n"):
        if is_multi_line:
            is_multi_line = line != b"."
            continue
        assert STATUS_LINE.fullmatch(line), line
        assert len(line) <= 510
        is_multi_line = MULTI_LINE.fullmatch(line) is not None
    assert not is_multi_line


@settings(max_examples=300, deadline=None)
@given(octets=scripts, data=st.data())
def test_any_octets_and_any_answers_end_in_replies_or_an_end(octets: bytes, data: st.DataObject) -> None:
    session = Session(PROFILE, tls_active=data.draw(st.booleans(), label="tls"))
    sent = bytearray()
    update_count = 0
    for piece in cut(data, octets):
        session.receive_data(piece)
        while True:
            event = session.next_event()
            sent += session.data_to_send()
            if isinstance(event, NeedData | SessionEnded):
                break
            if isinstance(event, DrainNeeded):
                continue
            if isinstance(event, UpdateRequested):
                assert session.state is SessionState.UPDATE
                assert set(event.deleted_numbers) <= {1, 2, 3}
                update_count += 1
            sent += answer(session, event, data)
    session.receive_eof()
    while not isinstance(event := session.next_event(), SessionEnded):
        sent += session.data_to_send()
        assert isinstance(event, DrainNeeded)
    sent += session.data_to_send()
    assert update_count <= 1
    assert update_count == 1 or event.reason is not EndReason.UPDATE_FAILED
    assert_well_formed(bytes(sent))


@settings(max_examples=200, deadline=None)
@given(octets=scripts, data=st.data())
def test_the_replies_do_not_depend_on_how_the_octets_are_cut(octets: bytes, data: st.DataObject) -> None:
    def played(pieces: list[bytes]) -> tuple[bytes, EndReason | None, tuple[int, ...]]:
        driver = PureDriver(SCENE)
        for piece in pieces:
            driver.receive(piece)
        return bytes(driver.sent), driver.end_reason, driver.removed

    assert played(cut(data, octets)) == played([octets])
