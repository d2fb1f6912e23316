import pytest

from bridge.maildrop.model import DeleteOutcome, DeleteResult, ObjectRef
from tests.s3.scripted import Answer, found, refusal, scripted

ONE, TWO = ObjectRef("b", "1", "e1"), ObjectRef("b", "2", "e1")


def batch(*entries: str) -> Answer:
    return Answer(body=f"<?xml version='1.0'?><DeleteResult>{''.join(entries)}</DeleteResult>".encode())


def deleted(key: str) -> str:
    return f"<Deleted><Key>{key}</Key></Deleted>"


def failed(key: str, code: str) -> str:
    return f"<Error><Key>{key}</Key><Code>{code}</Code><Message>no</Message></Error>"


def results(outcomes: list[DeleteOutcome]) -> list[DeleteResult]:
    return [outcome.result for outcome in outcomes]


@pytest.mark.parametrize("entries", [[deleted("1"), deleted("2")], [deleted("1")], []])
async def test_only_the_stores_list_of_errors_decides(entries: list[str]) -> None:
    async with scripted(found(b""), found(b""), batch(*entries)) as (store, script):
        assert results(await store.delete_objects([ONE, TWO])) == [DeleteResult.GONE, DeleteResult.GONE]
    assert [asked.method for asked in script.asked] == ["HEAD", "HEAD", "POST"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("AccessDenied", DeleteResult.REFUSED),
        ("MethodNotAllowed", DeleteResult.REFUSED),
        ("NoSuchKey", DeleteResult.GONE),
        ("InternalError", DeleteResult.FAILED),
        ("SlowDown", DeleteResult.FAILED),
    ],
)
async def test_one_error_is_that_objects_alone(code: str, expected: DeleteResult) -> None:
    async with scripted(found(b""), found(b""), batch(failed("2", code))) as (store, _):
        outcomes = await store.delete_objects([ONE, TWO])
    assert results(outcomes) == [DeleteResult.GONE, expected]
    assert outcomes[1].error == ("" if expected is DeleteResult.GONE else f"delete: {code}")


@pytest.mark.parametrize(
    "said",
    [
        refusal(501, "NotImplemented"),
        refusal(405, "MethodNotAllowed"),
        refusal(400, "MissingContentMD5"),
        refusal(400, "InvalidRequest"),
        refusal(400, "MalformedXML"),
        refusal(403, "AccessDenied"),
        Answer(501),
    ],
)
async def test_a_store_that_does_not_delete_many_at_once_is_asked_for_each(said: Answer) -> None:
    async with scripted(found(b""), found(b""), said, Answer(204)) as (store, script):
        assert results(await store.delete_objects([ONE, TWO])) == [DeleteResult.GONE, DeleteResult.GONE]
    assert [asked.method for asked in script.asked] == ["HEAD", "HEAD", "POST", "DELETE", "DELETE"]


async def test_single_deletes_are_judged_one_by_one() -> None:
    answers = [found(b""), refusal(501, "NotImplemented")]
    for said, expected in [
        (Answer(204), DeleteResult.GONE),
        (refusal(404, "NoSuchKey"), DeleteResult.GONE),
        (refusal(403, "AccessDenied"), DeleteResult.REFUSED),
        (refusal(500, "InternalError"), DeleteResult.FAILED),
    ]:
        async with scripted(*answers, said) as (store, _):
            assert results(await store.delete_objects([ONE])) == [expected]


@pytest.mark.parametrize("said", [refusal(503, "SlowDown"), refusal(404, "NoSuchBucket")])
async def test_a_batch_that_gets_no_answer_has_failed_for_all(said: Answer) -> None:
    async with scripted(found(b""), found(b""), said) as (store, _):
        assert results(await store.delete_objects([ONE, TWO])) == [DeleteResult.FAILED, DeleteResult.FAILED]


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([Answer(404), Answer(200)], DeleteResult.GONE),
        ([Answer(404), Answer(403)], DeleteResult.GONE),
        ([Answer(404), Answer(404)], DeleteResult.FAILED),  # the bucket is missing
        ([Answer(404), Answer(500)], DeleteResult.FAILED),
        ([Answer(403), refusal(404, "NoSuchBucket")], DeleteResult.FAILED),
        ([found(b"", etag="e2")], DeleteResult.CHANGED),
        ([Answer(403), refusal(403, "AccessDenied")], DeleteResult.REFUSED),
        ([Answer(403), refusal(403, "RequestTimeTooSkewed")], DeleteResult.FAILED),
        ([Answer(500)], DeleteResult.FAILED),
    ],
)
async def test_what_is_not_seen_to_be_the_object_decided_on_is_not_deleted(
    looks: list[Answer], expected: DeleteResult
) -> None:
    async with scripted(*looks) as (store, script):
        assert results(await store.delete_objects([ONE])) == [expected]
    assert {asked.method for asked in script.asked} <= {"HEAD", "GET"}
