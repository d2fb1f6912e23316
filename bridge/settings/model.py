"""What can be set, its defaults and limits, and what contradicts what. A description says what its setting protects."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

IpNetwork = IPv4Network | IPv6Network


def _networks(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",") if part.strip()]
    try:
        return tuple(ip_network(part) for part in parts)
    except ValueError as error:
        raise ValueError(f"must be networks like 10.0.0.0/8, fd00::/8, with commas between: {error}") from None


Networks = Annotated[tuple[IpNetwork, ...], NoDecode, BeforeValidator(_networks)]
Port = Annotated[int, Field(ge=0, le=65_535)]  # 0: any free one


class _Room(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class ServerSettings(_Room):
    """The POP3 and POP3S door."""

    host: str = "0.0.0.0"
    """The address to listen on; `::` listens on IPv6 and, on most systems, IPv4."""
    pop3_port: Port = 1110
    """POP3, with STLS when there is a certificate. Above 1024, so that no privilege is needed."""
    pop3s_port: Port = 1995
    """POP3 in TLS from the first octet; open only when there is a certificate."""
    max_connections: int = Field(default=10_000, ge=1)
    """Protects memory and file descriptors: further clients hear [SYS/TEMP]."""
    max_connections_per_network: int = Field(default=200, ge=1)
    """Protects everybody else from one client address (IPv6: one /64) that opens connection after connection."""
    login_timeout_s: float = Field(default=60, gt=0)
    """All the time a client has to log in; protects against connections that are held open for nothing."""
    idle_timeout_s: float = Field(default=600, ge=600)
    """Silence after login that ends a session without removing anything; RFC 1939 forbids less than 600."""
    write_timeout_s: float = Field(default=60, gt=0)
    """How long a client may take no octet of what is sent to it; frees the maildrop of a half-dead client."""
    drain_accept_grace_s: float = Field(default=5, ge=0)
    """After SIGTERM new connections are still served this long, because load balancers are slow to notice."""
    drain_idle_s: float = Field(default=5, ge=0)
    """While draining, a session that was silent this long is ended between two commands."""
    drain_timeout_s: float = Field(default=240, gt=0)
    """While draining, what still runs then is cut without removing anything. Keep it below the pod's grace time."""
    share_ports: bool = False
    """Whether several processes of this machine may listen on the same ports, each for a share of the connections."""
    show_implementation: bool = True
    """Whether CAPA names this product; false gives an attacker less to go by."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.pop3_port == self.pop3s_port != 0:
            raise ValueError("pop3_port and pop3s_port are the same: give each its own")
        if self.max_connections_per_network > self.max_connections:
            raise ValueError("max_connections_per_network is above max_connections: lower it, or it protects nobody")
        if self.drain_accept_grace_s + self.drain_idle_s >= self.drain_timeout_s:
            raise ValueError("drain_timeout_s must be longer than drain_accept_grace_s and drain_idle_s together")
        return self


class TlsSettings(_Room):
    """The certificate; without one neither POP3S nor STLS is offered."""

    certificate_file: Path | None = None
    """PEM file with the certificate and the chain up to, but without, the root."""
    key_file: Path | None = None
    """PEM file with the private key, not encrypted."""
    reload_interval_s: float = Field(default=30, gt=0)
    """How often the files are looked at, so that a renewed certificate is used before the old one ends."""
    handshake_timeout_s: float = Field(default=10, gt=0)
    """Protects against clients that open a TLS connection and say nothing."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together: set both, or neither")
        return self


class ProxySettings(_Room):
    """PROXY protocol, versions 1 and 2."""

    trusted_networks: Networks = ()
    """Load balancers, by network, whose PROXY header is required and believed. Nobody else's is."""
    header_timeout_s: float = Field(default=10, gt=0)
    """Protects against a trusted peer that connects and sends no header."""


class LoginSettings(_Room):
    """Passwords and who may send them how."""

    cleartext_networks: Networks = ()
    """Networks of old devices that may send passwords without TLS. Everybody else must use TLS."""
    max_parallel_password_checks: int = Field(default=2, ge=1, le=64)
    """Protects processors and memory: this many times `argon2_memory_kib` is the most that checks take."""
    argon2_memory_kib: int = Field(default=19_456, ge=8_192, le=1_048_576)
    """Memory for each new password hash; protects stolen hashes against guessing."""
    argon2_iteration_count: int = Field(default=2, ge=1, le=100)
    """Passes for each new password hash; protects stolen hashes against guessing."""
    verified_password_lifetime_s: float = Field(default=300, ge=0, le=3_600)
    """A password that was right is believed this long without another hash, so that pollers cost little; 0: never."""


class MaildropSettings(_Room):
    """The lease of a maildrop, and what a session may spend on it."""

    lease_duration_s: float = Field(default=60, gt=0)
    """How long a maildrop stays locked after its process crashed."""
    lease_renew_interval_s: float = Field(default=15, gt=0)
    """How often a process prolongs the leases of all its sessions; at least three tries must fit into a lease."""
    takeover_idle_s: float = Field(default=120, ge=120)
    """With lock policy takeover: how long a session must have been silent before a new login ends it."""
    lease_wait_s: float = Field(default=10, gt=0)
    """With lock policy wait: how long a second login waits before it hears [IN-USE]."""
    login_sync_budget_s: float = Field(default=10, gt=0)
    """The longest a login waits for the listing of its bucket; then it shows what is indexed."""
    quit_delete_budget_s: float = Field(default=5, gt=0)
    """The longest QUIT waits for S3 to delete; then the worker does the rest."""
    read_attempts: int = Field(default=3, ge=1, le=10)
    """How often a broken read from S3 is taken up again before the client's connection is cut."""
    max_text_octets: int = Field(default=268_435_456, ge=1_048_576)
    """The largest message after decompression; protects against decompression bombs."""
    snapshot_cache_octets: int = Field(default=67_108_864, ge=0)
    """Memory of a process for drop listings of maildrops that did not change between two logins."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.lease_renew_interval_s * 3 > self.lease_duration_s:
            raise ValueError("lease_renew_interval_s must be at most a third of lease_duration_s")
        if self.takeover_idle_s < 4 * self.lease_renew_interval_s:
            raise ValueError("takeover_idle_s must be at least four times lease_renew_interval_s")
        return self


class SyncSettings(_Room):
    """Keeping the index in step with the bucket."""

    min_interval_s: float = Field(default=1, ge=0)
    """A login lists its bucket only if the last listing began longer ago; protects the bill against busy pollers."""
    background_interval_s: float = Field(default=900, ge=10)
    """How often the worker lists a maildrop that nobody logs in to, so that its next login is quick."""
    parallel_measure_count: int = Field(default=8, ge=1, le=256)
    """How many new messages a process reads at once to measure them; protects memory and S3's request rate."""
    timeout_s: float = Field(default=3_600, ge=60)
    """The longest that one listing with all its new messages may take; what is indexed by then stays."""


class RemovalSettings(_Room):
    """What the worker does after QUIT has decided."""

    poll_interval_s: float = Field(default=5, gt=0)
    """How often the worker looks for objects that are still to be deleted."""
    claim_duration_s: float = Field(default=300, ge=30)
    """How long a worker has for a batch before another may take it over; also ends the claims of a crashed one."""
    first_retry_delay_s: float = Field(default=5, gt=0)
    """The pause before the second try of a delete that failed; it doubles from try to try."""
    max_retry_delay_s: float = Field(default=3_600, gt=0)
    """The longest pause between two tries."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.first_retry_delay_s > self.max_retry_delay_s:
            raise ValueError("first_retry_delay_s is above max_retry_delay_s")
        return self


class PostgresSettings(_Room):
    """The database."""

    url: SecretStr
    """postgresql://USER:PASSWORD@HOST/DATABASE; a transaction-pooling PgBouncer may stand between."""
    pool_max_size: int = Field(default=10, ge=1, le=500)
    """Connections of one process at most; protects Postgres' max_connections as replicas are added."""
    connect_timeout_s: float = Field(default=3, gt=0)
    """The longest that connecting may take."""
    acquire_timeout_s: float = Field(default=4, gt=0)
    """The longest wait for a free connection, connecting included; then clients hear [SYS/TEMP]."""
    command_timeout_s: float = Field(default=5, gt=0)
    """The longest that a statement may take; protects sessions from a database that hangs."""
    statement_cache_size: int = Field(default=100, ge=0)
    """Prepared statements kept for each connection; 0 behind a PgBouncer that cannot keep them."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("must begin with postgresql://")
        try:
            parts = urlsplit(url)
            is_whole = parts.fragment == "" and (parts.port is None or parts.port > 0)
        except ValueError:
            is_whole = False
        if not is_whole:  # the words of the parser would show a part of the password
            raise ValueError("is no address: special characters of a password are written as %XX, as # is %23")
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.connect_timeout_s > self.acquire_timeout_s:
            raise ValueError("connect_timeout_s is above acquire_timeout_s, which includes it")
        return self


class S3Settings(_Room):
    """The object store. Without keys here, credentials come from the ordinary AWS chain."""

    bucket: str | None = Field(default=None, min_length=1)
    """The bucket of new accounts that name none."""
    endpoint_url: str | None = None
    """Address of an S3-compatible store; not set: AWS."""
    region: str | None = None
    """The region; not set: what the AWS chain says."""
    path_style: bool = False
    """Whether the bucket stands in the path instead of the host name, as MinIO, Ceph and others want it."""
    access_key_id: SecretStr | None = None
    """Static access key; better is the AWS chain (web identity, instance role), where nothing is kept here."""
    secret_access_key: SecretStr | None = None
    """The secret that belongs to `access_key_id`."""
    request_checksum_calculation: Literal["when_required", "when_supported"] = "when_required"
    """When uploads carry a checksum: `when_supported` is refused by some S3-compatible stores."""
    max_connections: int = Field(default=64, ge=1, le=10_000)
    """Connections of a process to S3; what it reads at once."""
    connect_timeout_s: float = Field(default=3, gt=0)
    """The longest that connecting may take."""
    read_timeout_s: float = Field(default=20, gt=0)
    """The longest silence of S3 within an answer; then the read is taken up again, or the client hears [SYS/TEMP]."""
    attempt_count: int = Field(default=3, ge=1, le=10)
    """How often a request is tried in all."""

    @field_validator("endpoint_url")
    @classmethod
    def _check_endpoint(cls, value: str | None) -> str | None:
        if value is not None and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).hostname):
            raise ValueError("must be an address like https://s3.example.com")
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key belong together: set both, or neither")
        return self


class AdminSettings(_Room):
    """The door for machines: health and metrics over HTTP."""

    host: str = "0.0.0.0"
    """The address to listen on. It shows no mail and no names, but is not meant for the internet."""
    port: Port = 8110
    """HTTP for /livez, /readyz and /metrics."""


class LogSettings(_Room):
    """Log lines, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important lines that are written. No level writes passwords or mail."""
    format: Literal["json", "text"] = "json"
    """`json`: one object a line, for machines; `text`: for people."""


class Settings(BaseSettings):
    """Everything; made by `load_settings` from the environment, or directly from values (then nothing else is read)."""

    model_config = SettingsConfigDict(
        env_prefix="BRIDGE_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        validate_default=True,
    )

    server: ServerSettings = ServerSettings()
    tls: TlsSettings = TlsSettings()
    proxy: ProxySettings = ProxySettings()
    login: LoginSettings = LoginSettings()
    maildrop: MaildropSettings = MaildropSettings()
    sync: SyncSettings = SyncSettings()
    removal: RemovalSettings = RemovalSettings()
    postgres: PostgresSettings
    s3: S3Settings = S3Settings()
    admin: AdminSettings = AdminSettings()
    logs: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)

    def serving_problems(self) -> list[str]:
        """Why no client could use a server with these settings; empty when one could."""
        if self.tls.certificate_file is None and not self.login.cleartext_networks:
            return [
                "nobody could log in: there is no certificate, and no network may send passwords without TLS. "
                "Set BRIDGE_TLS__CERTIFICATE_FILE and BRIDGE_TLS__KEY_FILE, or BRIDGE_LOGIN__CLEARTEXT_NETWORKS"
            ]
        return []
