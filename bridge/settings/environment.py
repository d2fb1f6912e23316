"""From environment variables and secret files to `Settings`, or to plain words about what is wrong with them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

from bridge.settings.model import Settings

_PREFIX = "BRIDGE_"
_MAX_SECRET_FILE_OCTETS = 65_536
# What Kubernetes sets in every pod for a Service whose name begins with "bridge-". None of ours lacks the "__".
_SERVICE_LINK = re.compile(r"BRIDGE_(?!.*__).*(_HOST|PORT|PORT_\w+)")


class SettingsError(Exception):
    """Settings are missing, wrong, or contradict one another. One line for each, with its variable; never a secret."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable and the setting it sets."""

    name: str
    room: str
    setting: str
    field: FieldInfo

    @property
    def is_secret(self) -> bool:
        return SecretStr in (self.field.annotation, *get_args(self.field.annotation))


def variables() -> Iterator[Variable]:
    """All there are, in the order of the rooms."""
    for room, room_field in Settings.model_fields.items():
        model = room_field.annotation
        assert isinstance(model, type) and issubclass(model, BaseModel)  # noqa: S101
        for setting, field in model.model_fields.items():
            yield Variable(f"{_PREFIX}{room}__{setting}".upper(), room, setting, field)


def load_settings(environment: Mapping[str, str]) -> Settings:
    """Settings from variables that begin with `BRIDGE_`, empty ones taken as not set.

    A secret X may also be given as X_FILE, the path of a file that holds it. Raises SettingsError with all problems.
    """
    given = {name.upper(): value for name, value in environment.items() if name.upper().startswith(_PREFIX) and value}
    known = {variable.name: variable for variable in variables()}
    problems = []
    for name, variable in known.items():
        path = given.pop(f"{name}_FILE", None) if variable.is_secret else None
        if path is None:
            continue
        if name in given:
            problems.append(f"{name} and {name}_FILE are both set: remove one")
            continue
        try:
            given[name] = _read_secret(Path(path))
        except (OSError, ValueError) as error:
            problems.append(f"{name}_FILE: {path} cannot be read: {_reason(error)}")
            given[name] = ""
    for name in sorted(given.keys() - known.keys()):
        if not _SERVICE_LINK.fullmatch(name):
            problems.append(_unknown(name, known))
        del given[name]
    try:
        settings = Settings.model_validate(_values(given))
    except ValidationError as error:
        unread = {name for name, value in given.items() if not value}
        problems += [words for name, words in map(_in_words, error.errors(include_input=False)) if name not in unread]
    if problems:
        raise SettingsError(problems)
    return settings


def masked(settings: Settings) -> dict[str, str]:
    """Every variable and its effective value, secrets hidden."""
    shown = {}
    for variable in variables():
        value = getattr(getattr(settings, variable.room), variable.setting)
        shown[variable.name] = in_words(value)
    return shown


def in_words(value: object) -> str:
    """A value as it would stand in the environment; a secret as stars, None as nothing."""
    match value:
        case None:
            return ""
        case SecretStr():
            return "********"
        case bool():
            return str(value).lower()
        case tuple():
            return ", ".join(str(part) for part in value)
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _values(given: Mapping[str, str]) -> dict[str, dict[str, str]]:
    source = EnvSettingsSource(Settings)
    source.env_vars = {name.lower(): value for name, value in given.items()}
    return {"postgres": {}, **source()}


def _read_secret(path: Path) -> str:
    if path.stat().st_size > _MAX_SECRET_FILE_OCTETS:
        raise ValueError("it is too large for a secret")
    secret = path.read_text(encoding="utf-8").rstrip("\r\n")
    if not secret:
        raise ValueError("it is empty")
    return secret


def _reason(error: OSError | ValueError) -> str:
    match error:
        case OSError():
            return error.strerror or "it fails"
        case UnicodeDecodeError():  # its own text would show octets of the secret
            return "it is not UTF-8"
        case _:
            return str(error)


def _unknown(name: str, known: Mapping[str, Variable]) -> str:
    names = [*known, *(f"{variable.name}_FILE" for variable in known.values() if variable.is_secret)]
    near = get_close_matches(name, names, n=1, cutoff=0.8)
    return f"{name} is not a setting" + (f": did you mean {near[0]}?" if near else "; `pop3-bridge settings` lists all")


def _in_words(error: Mapping[str, object]) -> tuple[str, str]:
    """The variable that a problem is about, and the problem."""
    where = error["loc"]
    assert isinstance(where, tuple)  # noqa: S101
    name = _PREFIX + "__".join(str(part) for part in where[:2]).upper()
    match error["type"]:
        case "missing":
            return name, f"{name} is missing"
        case "value_error" if len(where) == 1:  # one setting against another
            words = re.sub(r"\b[a-z0-9]+(_[a-z0-9]+)+\b", lambda match: f"{name}__{match[0].upper()}", _message(error))
            return name, words
        case _:
            return name, f"{name}: {_message(error)}"


def _message(error: Mapping[str, object]) -> str:
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    return message[:1].lower() + message[1:]
