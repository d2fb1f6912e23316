"""What a client has shown, on its way to whoever can judge it."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PasswordCredentials:
    """From USER and PASS, or from SASL PLAIN or LOGIN."""

    login_name: str  # as the client sent it
    password: str = field(repr=False)
    authorization_name: str = ""  # SASL's authzid; "" when none was sent


Credentials = PasswordCredentials
