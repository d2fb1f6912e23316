import pytest

from bridge.ids import MaildropId
from bridge.maildrop.layouts import NotAMessage, classify
from bridge.maildrop.model import History, Layout, LockPolicy, Maildrop, RemovalPolicy


def maildrop(key_prefix: str) -> Maildrop:
    return Maildrop(
        maildrop_id=MaildropId(1),
        bucket="mail",
        key_prefix=key_prefix,
        layout=Layout.OBJECTS,
        history=History.NEW,
        lock_policy=LockPolicy.REFUSE,
        removal_policy=RemovalPolicy.DELETE,
        trash_prefix=None,
        is_indexed=False,
        index_version=0,
    )


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("alice/mail.eml", "mail.eml"),
        ("alice/2026/11/x y+z%2F.eml", "2026/11/x y+z%2F.eml"),
        ("alice//odd", "/odd"),
        ("alice/", NotAMessage.FOLDER_MARKER),
        ("alice/inbox/", NotAMessage.FOLDER_MARKER),
        ("alice/AMAZON_SES_SETUP_NOTIFICATION", NotAMessage.SES_SETUP),
        ("alice/sub/AMAZON_SES_SETUP_NOTIFICATION", NotAMessage.SES_SETUP),
        ("alice/MY_AMAZON_SES_SETUP_NOTIFICATION", "MY_AMAZON_SES_SETUP_NOTIFICATION"),
        ("alice/.pop3-bridge/uidls/1", NotAMessage.OWN_MARKER),
        ("alice/nul\x00", NotAMessage.UNUSABLE_KEY),
        ("alicex/mail.eml", NotAMessage.OUTSIDE),
    ],
)
def test_a_key_is_a_message_or_says_why_not(key: str, expected: str) -> None:
    assert classify(maildrop("alice/"), key) == expected


def test_a_maildrop_may_be_a_whole_bucket() -> None:
    assert classify(maildrop(""), "mail.eml") == "mail.eml"
