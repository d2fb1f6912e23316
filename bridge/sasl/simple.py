"""Mechanisms that show the password: PLAIN (RFC 4616) and the older LOGIN, which no RFC defines."""

from bridge.sasl.credentials import PasswordCredentials
from bridge.sasl.exchange import Challenge, Exchange, Failed, Failure, Mechanism, Proven, Step


class PlainExchange:
    """One message: authorization name, NUL, login name, NUL, password, all in UTF-8."""

    def begin(self, initial_response: bytes | None) -> Step:
        return Challenge(b"") if initial_response is None else self.respond(initial_response)

    def respond(self, response: bytes) -> Step:
        fields = response.split(b"\0")
        if len(fields) != 3:
            return Failed(Failure.MALFORMED)
        try:
            authorization_name, login_name, password = (field.decode() for field in fields)
        except UnicodeDecodeError:
            return Failed(Failure.BAD_CREDENTIALS)
        return Proven(PasswordCredentials(login_name, password, authorization_name))


class LoginExchange:
    """Name and password, asked for one after the other; an initial response is the name."""

    def __init__(self) -> None:
        self._login_name: str | None = None

    def begin(self, initial_response: bytes | None) -> Step:
        return Challenge(b"Username:") if initial_response is None else self.respond(initial_response)

    def respond(self, response: bytes) -> Step:
        try:
            text = response.decode()
        except UnicodeDecodeError:
            return Failed(Failure.BAD_CREDENTIALS)
        if self._login_name is None:
            self._login_name = text
            return Challenge(b"Password:")
        return Proven(PasswordCredentials(self._login_name, text))


def start_exchange(mechanism: Mechanism) -> Exchange:
    match mechanism:
        case Mechanism.PLAIN:
            return PlainExchange()
        case Mechanism.LOGIN:
            return LoginExchange()
