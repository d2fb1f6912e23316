import hashlib
import re

from hypothesis import given
from hypothesis import strategies as st

from bridge.maildrop.uidl import give_uidl

DIGEST = hashlib.sha256(b"Subject: a\r\n\r\n").digest()


def test_a_uidl_follows_from_identity_and_text_alone() -> None:
    # The literal value is a promise: a rebuilt index must give clients what they know.
    assert give_uidl("2026/mail.eml", DIGEST, part=0, try_count=0) == "mtxde5oje5w4765qoumpq6tywq"


def test_another_text_key_part_or_try_gives_another_uidl() -> None:
    other = hashlib.sha256(b"").digest()
    uidls = {
        give_uidl("a", DIGEST, part=0, try_count=0),
        give_uidl("b", DIGEST, part=0, try_count=0),
        give_uidl("a", other, part=0, try_count=0),
        give_uidl("a", DIGEST, part=1, try_count=0),
        give_uidl("a", DIGEST, part=0, try_count=1),
    }
    assert len(uidls) == 5


@given(st.text(min_size=1, alphabet=st.characters(blacklist_categories=["Cs"])), st.binary(min_size=32, max_size=32))
def test_any_key_gives_26_printable_characters(identity: str, digest: bytes) -> None:
    assert re.fullmatch(r"[\x21-\x7e]{26}", give_uidl(identity, digest, part=0, try_count=0))
