"""Login names and passwords in the one form in which they are stored and compared (RFC 8265, RFC 5890)."""

import idna
from precis_i18n import get_profile

from bridge.accounts.ports import AccountError

MAX_LOGIN_NAME_OCTETS = 320  # 64 of a mailbox name, "@", 255 of a domain
MAX_PASSWORD_OCTETS = 1_024

_USERNAME = get_profile("UsernameCaseMapped")
_PASSWORD = get_profile("OpaqueString")


class InvalidName(AccountError):
    """No account can have this name. The message says why, without the name."""


class InvalidPassword(AccountError):
    """No account can have this password. The message says why, without the password."""


def normalise_login_name(name: str) -> str:
    """The stored form of a login name: what stands before the last `@` by UsernameCaseMapped, the domain as A-labels.

    At login an InvalidName is nothing but an unknown account. Names are never paths, so they hold no `/` and no `..`.
    """
    if len(name) > MAX_LOGIN_NAME_OCTETS:
        raise InvalidName(f"a login name has at most {MAX_LOGIN_NAME_OCTETS} octets")
    mailbox, at, domain = name.rpartition("@")
    if not at:
        mailbox, domain = name, ""
    try:
        normalised = _USERNAME.enforce(mailbox)
    except UnicodeEncodeError as error:
        raise InvalidName(f"the login name is not allowed: {_reason(error)}") from None
    if at:
        try:
            normalised += "@" + idna.encode(domain.removesuffix("."), uts46=True, std3_rules=True).decode("ascii")
        except UnicodeError:  # IDNAError is one; idna raises others for surrogates
            raise InvalidName("what follows the @ is not a domain") from None
    if "/" in normalised or ".." in normalised:
        raise InvalidName("a login name holds no / and no ..")
    if len(normalised.encode()) > MAX_LOGIN_NAME_OCTETS:
        raise InvalidName(f"a login name has at most {MAX_LOGIN_NAME_OCTETS} octets")
    return normalised


def normalise_password(password: str) -> str:
    """The form of a password that is hashed and compared: OpaqueString. Blanks count, wherever they stand.

    Raises InvalidPassword, also for the empty one.
    """
    if not password:
        raise InvalidPassword("an empty password is never allowed")
    if len(password) > MAX_PASSWORD_OCTETS:
        raise InvalidPassword(f"a password has at most {MAX_PASSWORD_OCTETS} octets")
    try:
        normalised = _PASSWORD.enforce(password)
    except UnicodeEncodeError as error:
        raise InvalidPassword(f"the password is not allowed: {_reason(error)}") from None
    if len(normalised.encode()) > MAX_PASSWORD_OCTETS:
        raise InvalidPassword(f"a password has at most {MAX_PASSWORD_OCTETS} octets")
    return normalised


def _reason(error: UnicodeEncodeError) -> str:
    """The rule that was broken, in words such as "controls"; the error's own text would hold the characters."""
    return error.reason.rpartition("/")[2].replace("_", " ")
