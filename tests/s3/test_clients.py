import pytest

from bridge.s3.clients import S3Options, s3_client


def test_options_can_be_shown_without_the_secret() -> None:
    assert "s3cret" not in repr(S3Options(access_key_id="key", secret_access_key="s3cret"))


@pytest.mark.parametrize(
    ("path_style", "expected"), [(True, "http://store.test/mail/k?"), (False, "http://mail.store.test/k?")]
)
async def test_the_bucket_stands_where_the_options_say(path_style: bool, expected: str) -> None:
    options = S3Options(
        endpoint_url="http://store.test",
        region="us-east-1",
        path_style=path_style,
        access_key_id="key",
        secret_access_key="secret",
    )
    async with s3_client(options) as client:
        url = await client.generate_presigned_url("get_object", Params={"Bucket": "mail", "Key": "k"})
    assert url.startswith(expected)


async def test_the_aws_chain_gives_the_credentials_when_the_options_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    async with s3_client(S3Options(region="us-east-1")) as client:
        url = await client.generate_presigned_url("get_object", Params={"Bucket": "mail", "Key": "k"})
    assert "from-the-environment" in url
