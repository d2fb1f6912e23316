import pytest

from bridge.settings import Settings, SettingsError, load_settings
from bridge.settings.environment import masked, variables

URL = "postgresql://bridge:s3cret@db/bridge"
ENOUGH = {"BRIDGE_POSTGRES__URL": URL}


def problems(**variables: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings({**ENOUGH, **variables})
    return caught.value.problems


def test_the_database_is_the_only_setting_without_a_default() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({})
    assert caught.value.problems == ["BRIDGE_POSTGRES__URL is missing"]
    assert load_settings(ENOUGH).postgres.url.get_secret_value() == URL


def test_values_come_from_the_variables_given_and_from_nowhere_else() -> None:
    settings = load_settings(
        {
            **ENOUGH,
            "BRIDGE_SERVER__POP3_PORT": "110",
            "BRIDGE_LOGIN__CLEARTEXT_NETWORKS": "10.0.0.0/8, fd00::/8",
            "BRIDGE_SERVER__SHOW_IMPLEMENTATION": "false",
            "PATH": "/bin",
        }
    )
    assert settings.server.pop3_port == 110
    assert settings.server.pop3s_port == 1995
    assert [str(network) for network in settings.login.cleartext_networks] == ["10.0.0.0/8", "fd00::/8"]
    assert settings.server.show_implementation is False


def test_an_empty_variable_is_as_good_as_none() -> None:
    assert load_settings({**ENOUGH, "BRIDGE_S3__ENDPOINT_URL": "", "BRIDGE_SERVER__POP3_PORT": ""}) == load_settings(
        ENOUGH
    )


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("BRIDGE_SERVER__IDLE_TIMEOUT", "BRIDGE_SERVER__IDLE_TIMEOUT_S"),
        ("BRIDGE_SEVER__HOST", "BRIDGE_SERVER__HOST"),
        ("BRIDGE_POSTGRES_URL", "BRIDGE_POSTGRES__URL"),
        ("BRIDGE_POSTGRES__URL_FILES", "BRIDGE_POSTGRES__URL_FILE"),
        ("BRIDGE_S3__BUCKET__NAME", "BRIDGE_S3__BUCKET"),
    ],
)
def test_an_unknown_variable_is_an_error_that_names_the_nearest_known_one(name: str, near: str) -> None:
    assert problems(**{name: "600"}) == [f"{name} is not a setting: did you mean {near}?"]


def test_a_variable_like_no_setting_is_an_error_too() -> None:
    assert problems(BRIDGE_XYZ="1") == ["BRIDGE_XYZ is not a setting; `pop3-bridge settings` lists all"]


@pytest.mark.parametrize(
    "name",
    [
        "BRIDGE_PORT",
        "BRIDGE_SERVICE_HOST",
        "BRIDGE_SERVICE_PORT_POP3S",
        "BRIDGE_POP3_BRIDGE_PORT_1110_TCP_ADDR",
        "BRIDGE_POP3_BRIDGE_SERVICE_PORT",
    ],
)
def test_what_kubernetes_sets_for_a_service_called_bridge_is_no_error(name: str) -> None:
    assert load_settings({**ENOUGH, name: "tcp://10.0.0.1:1110"}) == load_settings(ENOUGH)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("BRIDGE_SERVER__IDLE_TIMEOUT_S", "30", "should be greater than or equal to 600"),
        ("BRIDGE_SERVER__POP3_PORT", "70000", "should be less than or equal to 65535"),
        ("BRIDGE_SERVER__WRITE_TIMEOUT_S", "inf", "should be a finite number"),
        ("BRIDGE_LOGS__LEVEL", "loud", "should be 'debug', 'info', 'warning' or 'error'"),
        ("BRIDGE_S3__ENDPOINT_URL", "minio:9000", "must be an address like https://s3.example.com"),
        ("BRIDGE_POSTGRES__URL", "s3cret", "must begin with postgresql://"),
        (
            "BRIDGE_PROXY__TRUSTED_NETWORKS",
            "10.0.0.1/8",
            "must be networks like 10.0.0.0/8, fd00::/8, with commas between: 10.0.0.1/8 has host bits set",
        ),
    ],
)
def test_a_wrong_value_is_an_error_that_names_its_variable(name: str, value: str, words: str) -> None:
    assert problems(**{name: value}) == [f"{name}: {words}"]


def test_a_contradiction_names_both_variables() -> None:
    assert problems(BRIDGE_MAILDROP__LEASE_DURATION_S="30") == [
        "BRIDGE_MAILDROP__LEASE_RENEW_INTERVAL_S must be at most a third of BRIDGE_MAILDROP__LEASE_DURATION_S"
    ]
    assert problems(BRIDGE_TLS__KEY_FILE="/tls.key") == [
        "BRIDGE_TLS__CERTIFICATE_FILE and BRIDGE_TLS__KEY_FILE belong together: set both, or neither"
    ]


@pytest.mark.parametrize(
    "variables",
    [
        {"BRIDGE_MAILDROP__LEASE_DURATION_S": "300", "BRIDGE_MAILDROP__LEASE_RENEW_INTERVAL_S": "90"},
        {"BRIDGE_SERVER__POP3_PORT": "1995"},
        {"BRIDGE_SERVER__MAX_CONNECTIONS": "10"},
        {"BRIDGE_SERVER__DRAIN_TIMEOUT_S": "10"},
        {"BRIDGE_REMOVAL__FIRST_RETRY_DELAY_S": "4000"},
        {"BRIDGE_POSTGRES__CONNECT_TIMEOUT_S": "8"},
        {"BRIDGE_S3__ACCESS_KEY_ID": "id"},
    ],
)
def test_settings_that_contradict_each_other_are_refused(variables: dict[str, str]) -> None:
    assert len(problems(**variables)) == 1


def test_all_problems_are_told_at_once() -> None:
    assert len(problems(BRIDGE_XYZ="1", BRIDGE_LOGS__LEVEL="loud", BRIDGE_SERVER__POP3_PORT="x")) == 3


def test_a_secret_may_lie_in_a_file(tmp_path) -> None:
    (tmp_path / "url").write_text(URL + "\n")
    settings = load_settings({"BRIDGE_POSTGRES__URL_FILE": str(tmp_path / "url")})
    assert settings.postgres.url.get_secret_value() == URL


def test_a_secret_and_its_file_together_are_an_error(tmp_path) -> None:
    assert problems(BRIDGE_POSTGRES__URL_FILE=str(tmp_path / "url")) == [
        "BRIDGE_POSTGRES__URL and BRIDGE_POSTGRES__URL_FILE are both set: remove one"
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b"\n", "it is empty"),
        (b"p\xff", "it is not UTF-8"),
        (b"x" * 65_537, "it is too large for a secret"),
    ],
)
def test_a_secret_file_that_cannot_be_read_is_the_one_problem(tmp_path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load_settings({"BRIDGE_POSTGRES__URL_FILE": str(path)})
    assert caught.value.problems == [f"BRIDGE_POSTGRES__URL_FILE: {path} cannot be read: {reason}"]


def test_what_is_no_secret_cannot_come_from_a_file() -> None:
    assert problems(BRIDGE_SERVER__HOST_FILE="/x") == [
        "BRIDGE_SERVER__HOST_FILE is not a setting: did you mean BRIDGE_SERVER__HOST?"
    ]


def test_no_secret_is_in_a_repr_a_mask_or_an_error() -> None:
    secrets = {**ENOUGH, "BRIDGE_S3__ACCESS_KEY_ID": "s3cret-id", "BRIDGE_S3__SECRET_ACCESS_KEY": "s3cret-key"}
    settings = load_settings(secrets)
    shown = masked(settings)
    assert shown["BRIDGE_POSTGRES__URL"] == shown["BRIDGE_S3__SECRET_ACCESS_KEY"] == "********"
    assert "s3cret" not in repr(settings) + str(settings) + str(shown) + settings.model_dump_json()
    with pytest.raises(SettingsError) as caught:
        load_settings({**secrets, "BRIDGE_POSTGRES__URL": "s3cret", "BRIDGE_POSTGRES__POOL_MAX_SIZE": "0"})
    assert "s3cret" not in str(caught.value)
    with pytest.raises(ValueError, match="postgresql") as invalid:
        Settings.model_validate({"postgres": {"url": "s3cret"}})
    assert "s3cret" not in str(invalid.value)


def test_a_mask_shows_every_variable_as_it_could_be_set() -> None:
    settings = load_settings({**ENOUGH, "BRIDGE_PROXY__TRUSTED_NETWORKS": "10.0.0.0/8,fd00::/8"})
    shown = masked(settings)
    assert list(shown) == [variable.name for variable in variables()]
    assert load_settings({**shown, **ENOUGH}) == settings


def test_every_setting_says_what_it_is_for() -> None:
    assert [variable.name for variable in variables() if not variable.field.description] == []


def test_a_server_that_nobody_could_log_in_to_has_a_problem() -> None:
    certificate = {"BRIDGE_TLS__CERTIFICATE_FILE": "c", "BRIDGE_TLS__KEY_FILE": "k"}
    assert len(load_settings(ENOUGH).serving_problems()) == 1
    assert load_settings({**ENOUGH, **certificate}).serving_problems() == []
    assert load_settings({**ENOUGH, "BRIDGE_LOGIN__CLEARTEXT_NETWORKS": "::1/128"}).serving_problems() == []
