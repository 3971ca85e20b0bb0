"""The aggregator's own settings."""

from typing import Literal

from pydantic import Field

from bff_shared.settings import AccessSettings, Seconds, Sharing


class AggregatorSettings(AccessSettings):
    """What the aggregator reads besides the common settings."""

    port: int = Field(8102, ge=0, le=65_535, description="port to listen on; 0 takes any free one")
    chart_timeout: Seconds = Field(2.0, description="seconds a chart may take; `X-Request-Timeout` may shorten it")
    chart_late_timeout: Seconds = Field(
        10.0, description="seconds the bars of a chart may take to come for the next request"
    )
    chart_hours: bool = Field(True, description="make long charts of minutes from hours; false reads minutes always")
    cache_scope_charts: Sharing | Literal[""] = Field("", description="as above for charts; empty: `BFF_CACHE_SCOPE`")
    chart_answer_bytes: int = Field(32 * 1024 * 1024, ge=0, description="bytes of encoded charts kept in this process")
    cache_bytes: int = Field(64 * 1024 * 1024, ge=0, description="bytes of chunks and runs kept in this process")
    cache_client_bytes: int = Field(
        64 * 1024 * 1024,
        ge=0,
        description="bytes an hour that a client address may add to a shared cache that is half full or more; 0: any",
    )
    run_timeout: Seconds = Field(1.5, description="seconds a complete run may take; `X-Request-Timeout` may shorten it")
    run_late_timeout: Seconds = Field(10.0, description="seconds a part of a run may take to come for the next request")
    run_answer_bytes: int = Field(32 * 1024 * 1024, ge=0, description="bytes of encoded answers kept in this process")
    response_client_bytes: int = Field(
        128 * 1024 * 1024, ge=1, description="bytes of large response bodies being sent to one client address"
    )
    response_total_bytes: int = Field(
        256 * 1024 * 1024, ge=1, description="bytes of large response bodies being sent to all clients of a process"
    )
    response_stuck_seconds: Seconds = Field(
        30.0, description="a client that takes nothing of a large response for so long is cut off"
    )
    cpu_threads: int = Field(1, ge=1, le=16, description="large bodies assembled, encoded or compressed at a time")
    cpu_queue: int = Field(
        1024, ge=1, description="those that may wait for that; one client address has `BFF_CLIENT_SHARE` of it"
    )
    cpu_seconds: Seconds = Field(10.0, description="seconds one of them may take with its waiting")
    equity_calls: int = Field(16, ge=1, le=1000, description="equity curves read from the backend at once")
    list_fanout: int = Field(8, ge=1, le=100, description="runs of a list whose metrics are asked for at once")
