from enum import Enum

import pytest

from bridge.pop3.events import LoginRefusal, MessageRefusal, UpdateRefusal

CODES = {
    LoginRefusal.BAD_CREDENTIALS: "[AUTH] ",
    LoginRefusal.IN_USE: "[IN-USE] ",
    LoginRefusal.LOGIN_DELAY: "[LOGIN-DELAY] ",
    LoginRefusal.THROTTLED: "[SYS/TEMP] ",
    LoginRefusal.SUSPENDED: "[SYS/PERM] ",
    LoginRefusal.BEING_PREPARED: "[SYS/TEMP] ",
    LoginRefusal.TEMPORARY: "[SYS/TEMP] ",
    LoginRefusal.PERMANENT: "[SYS/PERM] ",
    MessageRefusal.GONE: "",
    MessageRefusal.CHANGED: "",
    MessageRefusal.TEMPORARY: "[SYS/TEMP] ",
    MessageRefusal.PERMANENT: "[SYS/PERM] ",
    UpdateRefusal.LEASE_LOST: "[SYS/TEMP] ",
    UpdateRefusal.TEMPORARY: "[SYS/TEMP] ",
    UpdateRefusal.PERMANENT: "[SYS/PERM] ",
}


@pytest.mark.parametrize("refusal", [*LoginRefusal, *MessageRefusal, *UpdateRefusal], ids=str)
def test_each_refusal_has_its_response_code_and_words(refusal: Enum) -> None:
    text = str(refusal.value)
    code = CODES[refusal]
    assert text.startswith(code)
    assert text.removeprefix(code)[0].isalpha()
    assert "]" not in text.removeprefix(code)
    assert len(text) < 100


def test_only_wrong_credentials_say_auth() -> None:
    assert [refusal for refusal in LoginRefusal if "[AUTH]" in refusal.value] == [LoginRefusal.BAD_CREDENTIALS]
