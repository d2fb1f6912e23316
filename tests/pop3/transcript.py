"""Scenes of a client and a server, read from `tests/transcripts`; its README describes the format.

`load_scenes` gives all of them. Whoever replays one sets up the accounts and messages, goes through the steps, and
compares what UPDATE removed. A scene that is not `is_portable` wants refusals that a real server does not give at will.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from bridge.pop3.events import EndReason, LoginRefusal, MessageRefusal, UpdateRefusal
from bridge.pop3.profile import SessionProfile

TRANSCRIPTS = Path(__file__).parent.parent / "transcripts"
DEFAULT_PROFILE = SessionProfile(implementation="pop3-bridge", offers_tls=False, login_requires_tls=False)

_TITLE = re.compile(r"# (RFC \d+ section [\d.]+: .+)")
_REPEAT = re.compile(rb"\\\*(\d+)\{(.*?)\}")
_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))")
_ESCAPES = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"s": b" ", b"\\": b"\\"}
_UIDL = re.compile(rb"\{uidl (\d+)\}")


@dataclass(frozen=True, slots=True)
class Send:
    octets: bytes


@dataclass(frozen=True, slots=True)
class Expect:
    line: bytes  # without CRLF; may hold "{uidl N}"
    is_beginning: bool  # any text may follow

    def matches(self, line: bytes, uidls: dict[int, bytes]) -> bool:
        """`uidls` holds what the scene has shown so far, and learns."""
        parts = _UIDL.split(self.line)
        pattern = b"([!-~]{1,70})".join(re.escape(text) for text in parts[::2])
        match = re.fullmatch(pattern + (b".*" if self.is_beginning else b""), line, re.DOTALL)
        return match is not None and all(
            uidls.setdefault(int(number), uidl) == uidl
            for number, uidl in zip(parts[1::2], match.groups(), strict=True)
        )


@dataclass(frozen=True, slots=True)
class StartTls: ...


@dataclass(frozen=True, slots=True)
class EndOfStream: ...


@dataclass(frozen=True, slots=True)
class Closed:
    reason: EndReason


Step = Send | Expect | StartTls | EndOfStream | Closed


@dataclass(frozen=True, slots=True)
class SceneAccount:
    login_name: str
    password: str
    refusal: LoginRefusal | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    name: str
    title: str
    profile: SessionProfile
    tls_active: bool
    accounts: tuple[SceneAccount, ...]
    messages: tuple[bytes, ...]
    unreadable: Mapping[int, MessageRefusal]
    update_refusal: UpdateRefusal | None
    last_number: int
    removed: tuple[int, ...]
    may_pipeline: bool
    steps: tuple[Step, ...]

    @property
    def is_portable(self) -> bool:
        return (
            not self.unreadable
            and self.update_refusal is None
            and self.last_number == 0
            and all(account.refusal is None for account in self.accounts)
        )

    @property
    def sent_octets(self) -> bytes:
        return b"".join(step.octets for step in self.steps if isinstance(step, Send))


def load_scenes() -> list[Scene]:
    return [read_scene(path) for path in sorted(TRANSCRIPTS.glob("*.pop3"))]


def read_scene(path: Path) -> Scene:
    first, *rest = path.read_text("ascii").splitlines()
    title = _TITLE.fullmatch(first)
    assert title is not None, f"{path.name}: the first line names no RFC and section"
    accounts: list[SceneAccount] = []
    messages: list[bytes] = []
    unreadable: dict[int, MessageRefusal] = {}
    steps: list[Step] = []
    scene = Scene(path.stem, title[1], DEFAULT_PROFILE, False, (), (), unreadable, None, 0, (), True, ())
    for line in rest:
        if not line or line.startswith("#"):
            continue
        if (step := _step(line)) is not None:
            steps.append(step)
            continue
        assert not steps, f"{path.name}: neither a step nor a setting in its place: {line}"
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "account":
                accounts.append(_account(value))
            case "message":
                messages.append(unescape(value))
            case "profile":
                scene = replace(scene, profile=_profile(value))
            case "tls":
                scene = replace(scene, tls_active=_flag(value))
            case "unreadable":
                number, refusal = value.split()
                unreadable[int(number)] = MessageRefusal[refusal]
            case "update":
                scene = replace(scene, update_refusal=UpdateRefusal[value])
            case "last":
                scene = replace(scene, last_number=int(value))
            case "removed":
                scene = replace(scene, removed=tuple(int(number) for number in value.split()))
            case "pipelined":
                scene = replace(scene, may_pipeline=_flag(value))
            case _:
                raise AssertionError(f"{path.name}: unknown setting {name}")
    return replace(
        scene,
        accounts=tuple(accounts) or (SceneAccount("alice", "secret"),),
        messages=tuple(messages),
        steps=tuple(steps),
    )


def unescape(text: str) -> bytes:
    octets = _REPEAT.sub(lambda found: found[2] * int(found[1]), text.encode("ascii"))
    return _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()) if found[1] else _ESCAPES[found[2]], octets)


def _step(line: str) -> Step | None:
    mark, _, rest = line.partition(" ")
    match mark:
        case "C:":
            return Send(unescape(rest) + b"\r\n")
        case "C>":
            return Send(unescape(rest))
        case "S:":
            return Expect(unescape(rest.removesuffix("...")), rest.endswith("..."))
        case "TLS":
            return StartTls()
        case "EOF":
            return EndOfStream()
        case "CLOSED":
            return Closed(EndReason(rest))
    return None


def _account(value: str) -> SceneAccount:
    credentials, _, refusal = value.partition("\t")
    login_name, _, password = credentials.partition(" ")
    return SceneAccount(
        unescape(login_name).decode(), unescape(password).decode(), LoginRefusal[refusal] if refusal else None
    )


def _profile(value: str) -> SessionProfile:
    names = {field.name for field in fields(SessionProfile)}
    options: dict[str, bool | int | None] = {}
    for option in value.split():
        name, _, text = option.partition("=")
        assert name in names, f"SessionProfile has no {name}"
        options[name] = None if text == "none" else int(text) if text.isdigit() else _flag(text)
    return replace(DEFAULT_PROFILE, **options)  # type: ignore[arg-type]


def _flag(value: str) -> bool:
    return {"yes": True, "no": False}[value]
