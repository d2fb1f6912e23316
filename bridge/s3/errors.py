"""What the store's refusals mean to us. (Amazon S3 API Reference, "Error responses".)"""

from aiohttp import ClientError as HttpError
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError, ParamValidationError
from botocore.parsers import ResponseParserError

from bridge.maildrop.errors import MaildropError, ObjectChanged, ObjectGone, ObjectUnreadable, StoreUnavailable

# What a call of the client may raise when the store, or the way to it, is at fault.
STORE_ERRORS = (ClientError, BotoCoreError, ResponseParserError, HttpError, TimeoutError)

_GONE = frozenset({"NoSuchKey", "NoSuchVersion", "NotFound", "404"})
_CHANGED = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412"})
_UNREADABLE = {
    "AccessDenied": "the store denies access: check the policies of the bucket and of our credentials",
    "InvalidObjectState": "the object is archived: restore it first",
    "InvalidRequest": "the store calls the request invalid for this object: is it under a customer's own key (SSE-C)?",
    "KeyTooLongError": "the key is too long",
    "MethodNotAllowed": "the store does not allow this",
}
_UNAVAILABLE = {
    "AuthorizationHeaderMalformed": "check BRIDGE_S3__REGION",
    "ExpiredToken": "the credentials have expired and no new ones came: check the role or token file",
    "ExpiredTokenException": "the credentials have expired and no new ones came: check the role or token file",
    "InvalidAccessKeyId": "the store does not know the access key: check the credentials",
    "InvalidToken": "the session token is not valid: check the credentials",
    "PermanentRedirect": "the bucket is in another region: check BRIDGE_S3__REGION",
    "RequestTimeTooSkewed": "the clock of this machine is wrong: check its time service",
    "SignatureDoesNotMatch": "the secret is not the access key's: check the credentials",
    "SlowDown": "the store asks for fewer requests",
}


class BucketMissing(ObjectUnreadable):
    """Nothing of the bucket can be read; but what lies in it is neither gone nor refused to us."""


def error_code(error: ClientError) -> str:
    """The store's word for it; after HEAD, whose answers have no body, the HTTP status."""
    return str(error.response.get("Error", {}).get("Code", "")) or str(http_status(error))


def http_status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def translated(error: BaseException, operation: str) -> MaildropError:
    """The error to raise instead of one of STORE_ERRORS.

    What is not known to be final counts as passing: a wrong "final" would put back what a user has removed.
    """
    if isinstance(error, ClientError):
        code = error_code(error)
        if code in _GONE:
            return ObjectGone(f"{operation}: not there")
        if code in _CHANGED:
            return ObjectChanged(f"{operation}: another object stands there")
        if code.startswith("KMS.") and "Throttling" not in code:
            return ObjectUnreadable(f"{operation}: {code}: check the policy of the KMS key")
        if code == "NoSuchBucket":
            return BucketMissing(f"{operation}: {code}: the bucket is not there: check its name and region")
        if code in _UNREADABLE:
            return ObjectUnreadable(f"{operation}: {code}: {_UNREADABLE[code]}")
        hint = _UNAVAILABLE.get(code, "the store does not answer as it should")
        return StoreUnavailable(f"{operation}: {code} (HTTP {http_status(error)}): {hint}")
    if isinstance(error, ParamValidationError):
        return ObjectUnreadable(f"{operation}: the bucket or key is not one that S3 can have")
    if isinstance(error, NoCredentialsError):
        return StoreUnavailable(f"{operation}: no credentials found: give the pod a role, or set AWS_ variables")
    if isinstance(error, TimeoutError | HTTPClientError | HttpError):
        name = type(error).__name__
        return StoreUnavailable(f"{operation}: {name}: no whole answer: check the store's address and the network")
    return StoreUnavailable(f"{operation}: {type(error).__name__}")
