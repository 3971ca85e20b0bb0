"""The relay's own settings."""

from pydantic import Field

from bff_shared.settings import AccessSettings, Seconds

MEBI = 1024 * 1024


class RelaySettings(AccessSettings):
    """What the relay reads besides the common settings."""

    port: int = Field(8103, ge=0, le=65_535, description="port to listen on; 0 takes any free one")
    stream_max_connections: int = Field(6_000, ge=1, le=100_000, description="viewers of one process")
    stream_max_per_client: int = Field(
        2_000, ge=1, le=100_000, description="viewers from one client address, alone; fewer beside others"
    )
    stream_max_pending: int = Field(
        1_000, ge=1, le=100_000, description="handshakes of one client address that wait for the backend's verdict"
    )
    stream_handshakes_per_client: int = Field(
        200, ge=1, le=100_000, description="handshakes a second of one client address; ten seconds' worth at once"
    )
    stream_controls_per_client: int = Field(
        2_000,
        ge=1,
        le=1_000_000,
        description="messages a second of all playback viewers of one client address; more of them wait",
    )
    stream_max_controls: int = Field(
        50,
        ge=1,
        le=10_000,
        description="a viewer's messages a second; too many end playback, and wait in passthrough",
    )
    stream_frames_per_second: int = Field(
        500,
        ge=1,
        le=1_000_000,
        description="WebSocket frames a second from one viewer, of any kind; more than twice as many close it (1008)",
    )
    stream_client_frames_per_second: int = Field(
        10_000,
        ge=1,
        le=10_000_000,
        description="WebSocket frames a second from all viewers of one client address; more of them wait unread",
    )
    stream_client_bytes_per_second: int = Field(
        32 * MEBI,
        ge=MEBI,
        le=65_536 * MEBI,
        description="bytes a second from all viewers of one client address; more of them wait unread",
    )
    stream_client_unfinished_bytes: int = Field(
        32 * MEBI,
        ge=MEBI,
        le=65_536 * MEBI,
        description="bytes of begun and unfinished messages of one client address; who adds to more is closed (1008)",
    )
    stream_unfinished_bytes: int = Field(
        128 * MEBI,
        ge=MEBI,
        le=65_536 * MEBI,
        description="bytes of begun and unfinished messages of all viewers; who adds to more is closed (1013)",
    )
    stream_max_message: int = Field(
        64 * 1024, ge=256, le=16 * MEBI, description="bytes of a playback viewer's message; a larger one ends it (1009)"
    )
    stream_message_seconds: Seconds = Field(
        120.0, description="longest that a viewer's message may take from its first byte to its last; then 1008"
    )
    stream_verify_seconds: Seconds = Field(
        5.0, description="longest wait for the backend's verdict on a run before a stream begins"
    )
    stream_heartbeat: Seconds = Field(5.0, description="seconds between two heartbeats to a playback viewer")
    stream_viewer_bytes: int = Field(
        8 * 1024, ge=1024, le=16 * MEBI, description="unsent bytes above which a viewer's frames are coalesced"
    )
    stream_stuck_seconds: Seconds = Field(30.0, description="a viewer that takes nothing for so long is closed (1013)")
    stream_drain_spread: float = Field(2.0, ge=0, le=600, description="seconds over which a drain closes viewers")

    log_max_bytes: int = Field(64 * MEBI, ge=MEBI, description="most bytes of one run's frame log")
    log_total_bytes: int = Field(640 * MEBI, ge=MEBI, description="most bytes of all frame logs of a process")
    log_client_bytes: int = Field(
        480 * MEBI, ge=MEBI, description="most bytes of the frame logs that one client address watches"
    )
    log_linger: float = Field(60.0, ge=0, le=86_400, description="seconds a log is kept after its last viewer")
    log_share_seconds: Seconds = Field(600.0, description="seconds a finished log is shared through Redis")
    log_claim_seconds: float = Field(
        15.0,
        ge=0,
        le=3600,
        description="longest wait for another relay that is reading the same run; 0: do not wait",
    )
    log_recheck_seconds: float = Field(
        5.0, ge=0, le=86_400, description="seconds after which new viewers' credentials are judged by the backend again"
    )

    read_stall_seconds: Seconds = Field(
        30.0,
        description="silence of the backend after which its stream is reconnected; above its 5 s of heartbeat",
    )
    read_quiet_seconds: Seconds = Field(
        8.0,
        description="quiet after a finished run's last frame that may mean its end, where the backend never says it",
    )
    read_max: int = Field(8, ge=1, le=100_000, description="runs that one process begins to read at once; others wait")
    read_max_per_client: int = Field(
        4, ge=1, le=100_000, description="those of one client address, alone; fewer beside others"
    )
    read_ahead_max: int = Field(
        2, ge=1, le=100_000, description="runs that one process reads at once beyond what their viewers need soon"
    )
    read_unwatched_seconds: float = Field(
        3.0, ge=0, le=86_400, description="seconds after its last viewer until a run is no longer read"
    )
    read_failure_seconds: float = Field(
        10.0,
        ge=0,
        le=3600,
        description="seconds for which a run that could not be read is not read again",
    )
    read_poll_seconds: Seconds = Field(1.0, description="seconds between two looks at a run that is not ready or grows")

    door_max_message: int = Field(16 * MEBI, ge=1024, le=256 * MEBI, description="bytes of a passthrough message")
    door_ping_seconds: Seconds = Field(20.0, description="silence after which a backend's WebSocket is pinged")
    door_ping_timeout: Seconds = Field(60.0, description="further silence after which it counts as broken")
    door_reconnect_seconds: Seconds = Field(
        3600.0, description="how long reconnecting to an absent backend is tried for a viewer"
    )
    door_held_messages: int = Field(256, ge=1, le=100_000, description="a viewer's messages kept for an absent backend")
    door_held_bytes: int = Field(MEBI, ge=1024, le=64 * MEBI, description="bytes of these messages together")
