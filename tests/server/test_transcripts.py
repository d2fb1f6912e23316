"""Each scene of `tests/transcripts`, against a server on a socket: line by line, and as one segment."""

from collections.abc import Awaitable, Callable

import pytest

from bridge.accounts.model import ClientAddress, Identity, RefusalReason
from bridge.accounts.ports import LoginRefused
from bridge.ids import AccountId, MaildropId, ViewId
from bridge.maildrop.errors import (
    LeaseLost,
    LoginTooSoon,
    MaildropBeingPrepared,
    MaildropInUse,
    NoSuchMaildrop,
    ObjectChanged,
    ObjectGone,
    ObjectUnreadable,
    StoreUnavailable,
)
from bridge.maildrop.model import LockPolicy
from bridge.pop3.events import LoginRefusal, MessageRefusal, UpdateRefusal
from bridge.sasl.credentials import Credentials
from bridge.server.tls import TlsContexts
from bridge.telemetry.metrics import Metrics
from tests.pop3.transcript import Closed, EndOfStream, Expect, Scene, Send, StartTls, load_scenes
from tests.server.certificates import pair, trusting
from tests.server.rig import Client, FakeLogins, Rig

SCENES = load_scenes()
PIPELINED = [scene for scene in SCENES if scene.may_pipeline]

LOGIN_ERRORS: dict[LoginRefusal, Exception] = {
    LoginRefusal.BAD_CREDENTIALS: LoginRefused(RefusalReason.BAD_CREDENTIALS),
    LoginRefusal.IN_USE: MaildropInUse(LockPolicy.REFUSE),
    LoginRefusal.LOGIN_DELAY: LoginTooSoon(),
    LoginRefusal.THROTTLED: LoginRefused(RefusalReason.THROTTLED),
    LoginRefusal.SUSPENDED: LoginRefused(RefusalReason.SUSPENDED),
    LoginRefusal.BEING_PREPARED: MaildropBeingPrepared(),
    LoginRefusal.TEMPORARY: StoreUnavailable(),
    LoginRefusal.PERMANENT: NoSuchMaildrop(),
}
MESSAGE_ERRORS: dict[MessageRefusal, Exception] = {
    MessageRefusal.GONE: ObjectGone(),
    MessageRefusal.CHANGED: ObjectChanged(),
    MessageRefusal.TEMPORARY: StoreUnavailable(),
    MessageRefusal.PERMANENT: ObjectUnreadable(),
}
UPDATE_ERRORS = {UpdateRefusal.LEASE_LOST: LeaseLost(), UpdateRefusal.TEMPORARY: StoreUnavailable()}


class SceneLogins(FakeLogins):
    def __init__(self, scene: Scene) -> None:
        super().__init__()
        self._scene = scene

    async def login(self, credentials: Credentials, client: ClientAddress) -> Identity:
        for account in self._scene.accounts:
            if (
                (credentials.login_name, credentials.password) == (account.login_name, account.password)
                and credentials.authorization_name in ("", account.login_name)
            ):  # fmt: skip
                if account.refusal is not None:
                    raise LOGIN_ERRORS[account.refusal]
                return Identity(AccountId(7), account.login_name, MaildropId(1), ViewId(1), 0, None)
        raise LOGIN_ERRORS[LoginRefusal.BAD_CREDENTIALS]


def rig_of(scene: Scene, metrics: Metrics, tls: TlsContexts) -> Rig:
    rig = Rig(metrics, tls, profile=scene.profile, logins=SceneLogins(scene))
    drop = rig.maildrops
    drop.messages = list(scene.messages)
    drop.chunk_octets = 7
    drop.last_seen_number = scene.last_number
    drop.unreadable = {number: MESSAGE_ERRORS[refusal] for number, refusal in scene.unreadable.items()}
    if scene.update_refusal is UpdateRefusal.PERMANENT:
        drop.refused_count = 1
    elif scene.update_refusal is not None:
        drop.before_remove = failing(UPDATE_ERRORS[scene.update_refusal])
    return rig


def failing(error: Exception) -> Callable[[], Awaitable[None]]:
    async def fail() -> None:
        raise error

    return fail


def client_of(scene: Scene, rig: Rig) -> Client:
    return Client(rig.ports[1], tls=trusting(pair()[0])) if scene.tls_active else Client(rig.ports[0])


def removed_by(scene: Scene) -> tuple[int, ...]:
    """In PERMANENT some were removed and some not; which, the rig does not say."""
    return (1,) if scene.update_refusal is UpdateRefusal.PERMANENT else scene.removed


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
async def test_a_scene_plays_line_by_line(scene: Scene, metrics: Metrics, tls: TlsContexts) -> None:
    rig = rig_of(scene, metrics, tls)
    uidls: dict[int, bytes] = {}
    async with rig, client_of(scene, rig) as client:
        for number, step in enumerate(scene.steps, 1):
            match step:
                case Send(octets):
                    await client.send(octets)
                case Expect():
                    line = await client.line()
                    assert line.endswith(b"\r\n") and step.matches(line[:-2], uidls), f"step {number}: {step}, {line!r}"
                case StartTls():
                    await client.start_tls(trusting(pair()[0]))
                case EndOfStream():
                    client.shut()
                case Closed(reason):
                    assert await client.rest() == b""
                    assert await rig.end() is reason
    assert tuple(rig.maildrops.removed) == removed_by(scene)


@pytest.mark.parametrize("scene", PIPELINED, ids=lambda scene: scene.name)
async def test_a_scene_sent_as_one_segment_gets_the_same_replies(
    scene: Scene, metrics: Metrics, tls: TlsContexts
) -> None:
    rig = rig_of(scene, metrics, tls)
    uidls: dict[int, bytes] = {}
    async with rig, client_of(scene, rig) as client:
        await client.send(scene.sent_octets)
        if EndOfStream() in scene.steps:
            client.shut()
        *lines, last = (await client.rest()).split(b"\r\n")
    assert last == b""
    for step, line in zip([step for step in scene.steps if isinstance(step, Expect)], lines, strict=True):
        assert step.matches(line, uidls), (step, line)
    assert Closed(await rig.end()) in scene.steps
    assert tuple(rig.maildrops.removed) == removed_by(scene)
