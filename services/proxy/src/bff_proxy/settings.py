"""The proxy's own settings."""

from typing import Annotated

from pydantic import AfterValidator, Field

from bff_shared.settings import Prefixes, Seconds, Settings, Share, Words

IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))


def _methods(value: tuple[str, ...]) -> tuple[str, ...]:
    """Accept idempotent methods only (RFC 9110 section 9.2.2)."""
    for method in value:
        if method not in IDEMPOTENT:
            raise ValueError(f"{method!r} is not an idempotent method")
    return value


Methods = Annotated[Words, AfterValidator(_methods)]


class ProxySettings(Settings):
    """What the proxy reads besides the common settings."""

    port: int = Field(8101, ge=0, le=65_535, description="port to listen on; 0 takes any free one")
    proxy_prefixes: Prefixes = Field(
        ("/backtests", "/bars", "/healthz"), description="path prefixes that are forwarded; `/` for all"
    )
    retry_methods: Methods = Field(
        ("GET", "HEAD", "OPTIONS"), description="methods that may be sent again; `PUT` and `DELETE` may be added"
    )
    max_body_bytes: int = Field(0, ge=0, description="largest request body that is forwarded; 0: no limit")
    body_min_rate_bytes: float = Field(
        1024, ge=0, allow_inf_nan=False, description="bytes a second that a request body has to come with on average"
    )
    body_grace_seconds: Seconds = Field(10.0, description="seconds by which a request body may be behind that rate")
    body_seconds: Seconds = Field(600.0, description="longest time that a request body may take to arrive")
    flags_file: str = Field("", description="definitions of flags in flagd's format; empty: every flag is off")
    flag_poll_seconds: Seconds = Field(1.0, description="seconds between two polls of the file, and of Redis's flags")
    flag_listeners: int = Field(1_000, ge=0, le=100_000, description="pages of one process that may hear of flags")
    flag_listeners_per_client: int = Field(
        250, ge=1, le=100_000, description="pages of one client address that may hear of flags, per process"
    )
    flag_stream_seconds: Seconds = Field(
        900.0, description="seconds after which a stream of flags ends, more or less, and its page opens another"
    )
    flag_heartbeat: Seconds = Field(15.0, description="seconds between two signs of life on a stream of flags")
    rollback_window: float = Field(30.0, ge=10, le=600, description="seconds over which a piece's budget is evaluated")
    rollback_min_requests: int = Field(50, ge=1, description="requests in the window before a budget is evaluated")
    rollback_min_clients: int = Field(
        2, ge=1, le=16, description="client addresses that must break a piece's budget together; 1: one is enough"
    )
    rollback_error_share: Share = Field(0.2, description="share of failed requests above which a piece is turned off")
    rollback_slow_share: Share = Field(0.5, description="share of slow answers above which a piece is turned off")
