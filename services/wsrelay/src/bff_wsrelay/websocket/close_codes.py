"""Close codes of WebSockets: which to send to each end of the relay, and which mean come back. Pure.

RFC 6455 section 7.4.1 and the IANA registry of WebSocket close codes.

    1000 normal          the session is over
    1001 going away      the other side leaves; come back
    1002 protocol error  1003 unsupported data  1007 invalid UTF-8  1008 policy  1009 too big: the message was at fault
    1011 internal error  come back
    1012 restart         come back, after the announced delay
    1013 try again later come back, later
    1014 bad gateway     the backend broke off; come back
    4401 4403 4404       the backend refused the credentials, the user, the run (4000 + the HTTP status)
"""

from dataclasses import dataclass

NORMAL = 1000
GOING_AWAY = 1001
NO_STATUS = 1005
ABNORMAL = 1006
POLICY_VIOLATION = 1008
TOO_BIG = 1009
INTERNAL_ERROR = 1011
RESTART = 1012
TRY_AGAIN_LATER = 1013
BAD_GATEWAY = 1014
TLS_FAILURE = 1015

COME_BACK = frozenset((GOING_AWAY, ABNORMAL, INTERNAL_ERROR, RESTART, TRY_AGAIN_LATER, BAD_GATEWAY, TLS_FAILURE))
"""Codes that say that the connection is over and the session is not."""

_REFUSAL_CODES = frozenset((4401, 4403, 4404))
MAX_REASON = 123  # a control frame carries 125 bytes (RFC 6455 section 5.5), two of them the code


@dataclass(frozen=True, slots=True)
class Close:
    """How a connection ended. `code` may be one that is never sent: 1005, 1006 or 1015."""

    code: int
    reason: str = ""


def close_for_client(close: Close) -> Close:
    """Return the close to send to a viewer when the backend's connection ended like this.

    1005 becomes 1000; 1006 and 1015, which no frame may carry, become 1014.
    """
    return _replace(close, {NO_STATUS: NORMAL, ABNORMAL: BAD_GATEWAY, TLS_FAILURE: BAD_GATEWAY})


def close_for_backend(close: Close) -> Close:
    """Return the close to send to the backend when a viewer's connection ended like this.

    1005 becomes 1000; a viewer that vanished (1006, 1015) went away: 1001.
    """
    return _replace(close, {NO_STATUS: NORMAL, ABNORMAL: GOING_AWAY, TLS_FAILURE: GOING_AWAY})


def of_status(status: int) -> int:
    """Return the close code for an HTTP refusal that comes when the viewer's handshake is already over."""
    return 4000 + status if 400 <= status < 500 else BAD_GATEWAY


def metric_label(code: int) -> str:
    """Return the metric label for a close code: known codes as they are, everything else as `other`."""
    return str(code) if NORMAL <= code <= TLS_FAILURE or code in _REFUSAL_CODES else "other"


def cut_reason(reason: str) -> str:
    """Return as much of a reason as fits into a close frame, whole characters only."""
    return reason.encode()[:MAX_REASON].decode(errors="ignore")


def _replace(close: Close, codes: dict[int, int]) -> Close:
    code = codes.get(close.code, close.code)
    if not (1000 <= code <= 1014 or 3000 <= code < 5000) or code in {1004, NO_STATUS, ABNORMAL}:
        code = BAD_GATEWAY  # nothing a frame may carry (section 7.4.2)
    return Close(code, cut_reason(close.reason))
