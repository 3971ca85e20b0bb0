"""Settings from the environment: one frozen object per process, each bad value refused by its variable's name."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "BFF_"
Network = IPv4Network | IPv6Network


class SettingsError(Exception):
    """The environment holds a bad value; the text has one line for each, naming the variable."""


def _split(value: Any) -> Any:
    """Turn `a, b` into a tuple, as a list is spelled in one environment variable."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _networks(value: Any) -> Any:
    return tuple(ip_network(part, strict=False) for part in _split(value)) if isinstance(value, str) else value


def _backend_url(value: str) -> str:
    """Accept an origin (scheme and authority) and nothing more, so that paths map one to one."""
    parts = urlsplit(value.rstrip("/"))
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise ValueError("expected http://host[:port] or https://host[:port]")
    if parts.path or parts.query or parts.fragment:
        raise ValueError("expected an origin without a path, query or fragment")
    if parts.port == 0:
        raise ValueError("port 0 cannot be connected to")
    return f"{parts.scheme}://{parts.netloc}"


def _redis_url(value: str) -> str:
    if value and not value.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("expected redis://, rediss:// or unix://, or nothing")
    try:
        _ = urlsplit(value).port
    except ValueError:  # whose text may quote a password
        raise ValueError("the port is not one from 0 to 65535") from None
    return value


def _prefixes(value: tuple[str, ...]) -> tuple[str, ...]:
    for prefix in value:
        if not prefix.startswith("/") or any(c in prefix for c in "%?#\\") or ".." in prefix.split("/"):
            raise ValueError(f"{prefix!r} is not a plain absolute path")
    return value


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Networks = Annotated[tuple[Network, ...], NoDecode, BeforeValidator(_networks)]
Prefixes = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_prefixes)]
BackendUrl = Annotated[str, AfterValidator(_backend_url)]
RedisUrl = Annotated[str, AfterValidator(_redis_url)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Settings(BaseSettings):
    """What every service reads; a service adds its own by subclassing. Field `x_y` is the variable `BFF_X_Y`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8100, ge=0, le=65_535, description="port to listen on; 0 takes any free one")
    workers: int = Field(1, ge=1, le=64, description="processes; above 1 they run under gunicorn")
    backend_url: BackendUrl = Field("http://127.0.0.1:8000", description="the backend; `ws(s)://` is derived")
    redis_url: RedisUrl = Field("", description="shared cache; empty: this process's memory only")
    allowed_origins: Words = Field((), description="browser origins besides the own one; `*` in a host matches a label")
    trusted_proxies: Networks = Field(
        (ip_network("127.0.0.0/8"), ip_network("::1/128")),
        description="networks whose `X-Forwarded-*` headers are believed",
    )
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = Field(
        "INFO", description="least severe level logged: `DEBUG`, `INFO`, `WARNING` or `ERROR`, in either case"
    )
    log_format: Literal["auto", "json", "console"] = Field("auto", description="`auto`: console on a terminal")
    admin_token: SecretStr = Field(SecretStr(""), description="bearer token of admin routes; empty: they are off")
    digest_key: SecretStr = Field(
        SecretStr(""),
        description="key of the digests that stand for credentials in caches; empty: agreed on through Redis",
    )
    drain_seconds: float = Field(0.0, ge=0, le=600, description="how long to answer on while not ready, after SIGTERM")
    shutdown_seconds: Seconds = Field(30.0, description="longest wait for running requests at shutdown")

    connect_timeout: Seconds = Field(2.0, description="seconds to connect to the backend")
    first_byte_timeout: Seconds = Field(30.0, description="seconds from a sent request to the head of its answer")
    idle_timeout: Seconds = Field(60.0, description="seconds between two pieces of a body")
    max_connections: int = Field(100, ge=1, le=10_000, description="concurrent calls to the backend")
    max_uploads: int = Field(100, ge=1, le=10_000, description="concurrent calls whose request body is still coming")
    max_streams: int = Field(2_000, ge=1, le=100_000, description="concurrent event streams and other long responses")
    client_share: Share = Field(
        0.6, description="share of each of these that one client address may take alone; beside others it is less"
    )
    long_seconds: Seconds = Field(10.0, description="seconds after which a response counts as a long one")
    max_queue: int = Field(200, ge=0, le=100_000, description="calls that may wait for one of those places")
    queue_timeout: Seconds = Field(1.0, description="seconds a call may wait for a place")
    keepalive_seconds: Seconds = Field(4.0, description="seconds an idle connection to the backend is kept")
    retries: int = Field(2, ge=0, le=10, description="most retries of one idempotent call")
    retry_budget: Share = Field(0.2, description="retries as a share of recent calls")
    breaker_window: Seconds = Field(10.0, description="seconds over which failures are counted")
    breaker_min_calls: int = Field(20, ge=1, description="calls in the window before the breaker may open")
    breaker_failure_share: Share = Field(0.5, description="share of failed calls that opens the breaker")
    breaker_open_seconds: Seconds = Field(5.0, description="seconds the breaker stays open before it probes")

    rollback_enabled: bool = Field(False, description="turn a piece's flag off when the piece breaks its budget")
    rollback_slow_seconds: Seconds = Field(5.0, description="an answer that takes longer is slow, for that budget")


Sharing = Literal["credentials", "identity", "shared"]


class AccessSettings(Settings):
    """What the services read besides that keep data of users: with whom it is shared, and who may look at it."""

    access_seconds: Seconds = Field(
        60.0, description="seconds that a credential may read what is cached after the backend has accepted it"
    )
    access_stale_seconds: float = Field(
        600.0, ge=0, le=604_800, description="seconds that it may do so longer while the backend cannot be asked"
    )
    cache_scope: Sharing = Field(
        "credentials",
        description="with whom cached data is shared: `credentials`, `identity` or `shared` ([security](security.md))",
    )
    cache_scope_runs: Sharing | Literal[""] = Field("", description="the same for runs; empty: `BFF_CACHE_SCOPE`")
    identity_claim: str = Field(
        "sub", min_length=1, max_length=128, description="the claim of a bearer token that says whose it is"
    )
    credential_cookies: Words = Field(
        (), description="names of the cookies that count as credentials; empty: all but those that analytics set"
    )


S = TypeVar("S", bound=Settings)


def load(kind: type[S], **overrides: Any) -> S:
    """Read the settings of a service; raise SettingsError with a line per bad variable."""
    try:
        return kind(**overrides)
    except ValidationError as error:
        lines = (f"{PREFIX}{'_'.join(str(part) for part in e['loc']).upper()}: {_reason(e)}" for e in error.errors())
        raise SettingsError("\n".join(lines)) from error


def _reason(error: Any) -> str:
    """Return what is wrong with a value, and the value unless a password may be in it."""
    message = str(error["msg"]).removeprefix("Value error, ")
    given = repr(error["input"])
    return message if "token" in str(error["loc"]) or "@" in given else f"{message} (got {given})"
