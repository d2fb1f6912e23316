import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
)

from bridge.maildrop.errors import MaildropError, ObjectChanged, ObjectGone, ObjectUnreadable, StoreUnavailable
from bridge.s3.errors import BucketMissing, translated


def store_says(code: str, status: int) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": "of the store"}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "GetObject",
    )


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("NoSuchKey", 404, ObjectGone),
        ("404", 404, ObjectGone),
        ("NoSuchVersion", 404, ObjectGone),
        ("PreconditionFailed", 412, ObjectChanged),
        ("412", 412, ObjectChanged),
        ("AccessDenied", 403, ObjectUnreadable),
        ("InvalidObjectState", 403, ObjectUnreadable),
        ("KMS.DisabledException", 400, ObjectUnreadable),
        ("KMS.NotFoundException", 400, ObjectUnreadable),
        ("NoSuchBucket", 404, BucketMissing),
        ("KMS.ThrottlingException", 400, StoreUnavailable),
        ("RequestTimeTooSkewed", 403, StoreUnavailable),
        ("ExpiredToken", 400, StoreUnavailable),
        ("SignatureDoesNotMatch", 403, StoreUnavailable),
        ("InvalidAccessKeyId", 403, StoreUnavailable),
        ("SlowDown", 503, StoreUnavailable),
        ("TooManyRequests", 429, StoreUnavailable),
        ("InternalError", 500, StoreUnavailable),
        ("RequestTimeout", 400, StoreUnavailable),
        ("403", 403, StoreUnavailable),
        ("SomethingNew", 400, StoreUnavailable),
    ],
)
def test_a_refusal_is_final_only_when_it_is_known_to_be(code: str, status: int, expected: type[MaildropError]) -> None:
    assert type(translated(store_says(code, status), "get")) is expected


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("RequestTimeTooSkewed", "the clock of this machine is wrong"),
        ("ExpiredToken", "check the role or token file"),
        ("PermanentRedirect", "BRIDGE_S3__REGION"),
        ("AccessDenied", "check the policies"),
    ],
)
def test_a_message_says_what_to_do_and_not_what_the_store_wrote(code: str, hint: str) -> None:
    message = str(translated(store_says(code, 403), "list"))
    assert message.startswith(f"list: {code}")
    assert hint in message
    assert "of the store" not in message


def test_what_is_wrong_before_the_store_is_reached_is_told_apart() -> None:
    no_way = translated(EndpointConnectionError(endpoint_url="http://store/bucket/private-key"), "get")
    assert type(no_way) is StoreUnavailable
    assert "private-key" not in str(no_way)
    assert type(translated(NoCredentialsError(), "get")) is StoreUnavailable
    assert type(translated(TimeoutError(), "get")) is StoreUnavailable
    assert type(translated(ParamValidationError(report="Bucket"), "get")) is ObjectUnreadable
