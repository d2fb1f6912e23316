"""The page that documents every setting, written from the settings themselves."""

from itertools import groupby

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel

from bridge.settings.environment import Variable, in_words, variables
from bridge.settings.model import Settings

_HEAD = """\
# Settings

Written by `pop3-bridge settings`; do not edit.

Settings are environment variables; an empty one is as good as none. A variable that begins with `BRIDGE_` and is not
listed here is an error at start, and so are settings that contradict each other. Units stand in the names: `_S`
seconds, `_OCTETS` octets, `_KIB` units of 1,024 octets. Networks are written like `10.0.0.0/8, fd00::/8`.

A **secret** `X` may instead be given as `X_FILE`, the path of a file that holds it. `pop3-bridge check` shows what is
in force, without the secrets. Only `BRIDGE_POSTGRES__URL` has to be set.
"""


def configuration_page() -> str:
    """Markdown: a table for each room, a row for each variable."""
    page = _HEAD
    for room, members in groupby(variables(), key=lambda variable: variable.room):
        model = Settings.model_fields[room].annotation
        assert isinstance(model, type) and issubclass(model, BaseModel)  # noqa: S101
        page += f"\n## {room}\n\n{model.__doc__}\n\n| variable | default | |\n|---|---|---|\n"
        page += "".join(_row(variable) for variable in members)
    return page


def _row(variable: Variable) -> str:
    words = " ".join((variable.field.description or "").split())
    limits = ", ".join(filter(None, map(_limit, variable.field.metadata)))
    notes = [words, f"({limits})" if limits else "", "**Secret.**" if variable.is_secret else ""]
    default = "" if variable.field.is_required() else in_words(variable.field.default)
    return f"| `{variable.name}` | {f'`{default}`' if default else ''} | {' '.join(filter(None, notes))} |\n"


def _limit(limit: object) -> str:
    match limit:
        case Ge():
            return f"at least {limit.ge:,}"
        case Gt():
            return f"above {limit.gt:,}"
        case Le():
            return f"at most {limit.le:,}"
        case Lt():
            return f"below {limit.lt:,}"
        case _:
            return ""
