"""Which key under a maildrop's prefix is a message, and what its identity is."""

from enum import StrEnum

from bridge.maildrop.model import Maildrop

OWN_FOLDER = ".pop3-bridge"  # probes, manifests: never mail
SES_SETUP_NOTICE = "AMAZON_SES_SETUP_NOTIFICATION"  # written once by a new SES receipt rule


class NotAMessage(StrEnum):
    """Why a key is no message, in words an operator reads."""

    OUTSIDE = "outside-prefix"
    FOLDER_MARKER = "folder-marker"
    SES_SETUP = "ses-setup-notice"
    OWN_MARKER = "own-marker"
    UNUSABLE_KEY = "unusable-key"


def classify(maildrop: Maildrop, key: str) -> str | NotAMessage:
    """The identity of the message under this key, or why there is none.

    In the layout `objects` every key under the prefix is a message, and its identity is the key behind the prefix.
    """
    if not key.startswith(maildrop.key_prefix):
        return NotAMessage.OUTSIDE
    identity = key[len(maildrop.key_prefix) :]
    if not identity or identity.endswith("/"):
        return NotAMessage.FOLDER_MARKER
    if "\x00" in identity:  # Postgres' text cannot hold it
        return NotAMessage.UNUSABLE_KEY
    parts = identity.split("/")
    if parts[-1] == SES_SETUP_NOTICE:
        return NotAMessage.SES_SETUP
    if OWN_FOLDER in parts:
        return NotAMessage.OWN_MARKER
    return identity
