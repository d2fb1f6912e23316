"""Each scene of `tests/transcripts`, into the pure session: line by line, octet by octet, and as one segment."""

from collections.abc import Callable

import pytest

from bridge.pop3.events import EndReason
from tests.pop3.driver import PureDriver
from tests.pop3.transcript import Closed, EndOfStream, Expect, Scene, Send, StartTls, load_scenes

SCENES = load_scenes()
PIPELINED = [scene for scene in SCENES if scene.may_pipeline]
COMMANDS = {
    b"USER", b"PASS", b"AUTH", b"STLS", b"STAT", b"LIST", b"UIDL", b"RETR", b"TOP", b"DELE", b"RSET", b"LAST", b"NOOP",
    b"CAPA", b"QUIT",
}  # fmt: skip


def named(scene: Scene) -> str:
    return scene.name


def replay(scene: Scene, send: Callable[[PureDriver, bytes], None]) -> None:
    driver = PureDriver(scene)
    uidls: dict[int, bytes] = {}
    unread = driver.sent
    for number, step in enumerate(scene.steps, 1):
        match step:
            case Send(octets):
                assert not unread, f"step {number}: unexpected {bytes(unread)!r}"
                send(driver, octets)
            case Expect():
                line, found, _ = unread.partition(b"\r\n")
                assert found and step.matches(bytes(line), uidls), f"step {number}: {step}, came {bytes(unread)!r}"
                del unread[: len(line) + 2]
            case StartTls():
                assert not unread
                driver.shake_hands()
            case EndOfStream():
                driver.receive_eof()
            case Closed(reason):
                assert (bytes(unread), driver.end_reason) == (b"", reason)
    assert isinstance(scene.steps[-1], Closed)
    assert driver.removed == scene.removed


@pytest.mark.parametrize("scene", SCENES, ids=named)
def test_a_scene_plays_line_by_line(scene: Scene) -> None:
    replay(scene, PureDriver.receive)


@pytest.mark.parametrize("scene", SCENES, ids=named)
def test_a_scene_plays_octet_by_octet(scene: Scene) -> None:
    def send(driver: PureDriver, octets: bytes) -> None:
        for position in range(len(octets)):
            driver.receive(octets[position : position + 1])

    replay(scene, send)


@pytest.mark.parametrize("scene", PIPELINED, ids=named)
def test_a_scene_sent_as_one_segment_gets_the_same_replies_in_the_same_order(scene: Scene) -> None:
    driver = PureDriver(scene)
    driver.receive(scene.sent_octets)
    if EndOfStream() in scene.steps:
        driver.receive_eof()
    expected = [step for step in scene.steps if isinstance(step, Expect)]
    lines = bytes(driver.sent).split(b"\r\n")
    uidls: dict[int, bytes] = {}
    assert lines.pop() == b""
    for step, line in zip(expected, lines, strict=True):
        assert step.matches(line, uidls), (step, line)
    assert [step for step in scene.steps if isinstance(step, Closed)] == [Closed(driver.end_reason or EndReason.IDLE)]
    assert driver.removed == scene.removed


def test_every_command_stands_in_some_scene_with_a_good_and_a_bad_end() -> None:
    good: set[bytes] = set()
    bad: set[bytes] = set()
    for scene in SCENES:
        for step, answer in zip(scene.steps, scene.steps[1:], strict=False):
            if isinstance(step, Send) and isinstance(answer, Expect):
                keyword = step.octets.split()[0].upper() if step.octets.split() else b""
                (good if answer.line.startswith(b"+") else bad).add(keyword)
    assert good >= COMMANDS
    assert bad >= COMMANDS


def test_each_answer_of_all_scenes_begins_as_replies_do() -> None:
    for scene in SCENES:
        for step, answer in zip(scene.steps, scene.steps[1:], strict=False):
            if isinstance(step, Send) and isinstance(answer, Expect):
                assert answer.line.startswith((b"+OK", b"-ERR ", b"+ ")), (scene.name, answer)
