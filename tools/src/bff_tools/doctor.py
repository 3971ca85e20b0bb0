"""`python -m bff_tools.doctor URL`: look at a deployment from outside, through everything that stands in front of it.

Says what is not as it should be and what to do about it; exit status 1 if that is more than notes. It changes nothing,
needs no credentials, and asks some twenty requests.
"""

import argparse
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Final

from bff_tools import SERVICES, diagnosis
from bff_tools.diagnosis import Finding
from bff_tools.outside import Outside

EVENT_SECONDS: Final = 5.0
RUN: Final = "/api/v1/runs/doctor-asks-for-no-run/stream"
REPLICAS: Final = 5
"""How often /health is asked: each answer comes from one replica of each service."""


def expected_versions() -> dict[str, str]:
    """Return the version of each service in this checkout."""
    return {service: version(f"bff-{service}") for service in SERVICES}


def examine(
    origin: Outside,
    expected: Mapping[str, str],
    now: Callable[[], float] = time.time,
    event_seconds: float = EVENT_SECONDS,
) -> list[Finding]:
    """Ask everything and return what was found, each finding once."""
    live = origin.get("/health/live")
    if found := list(diagnosis.of_reach(live)):
        return found
    found += diagnosis.of_clock(live, now())
    for _ in range(REPLICAS):
        found += diagnosis.of_health(origin.get("/health"), expected)
    for path, part in diagnosis.ROUTES.items():
        found += diagnosis.of_route(path, part, origin.get(path))
    request_id = f"doctor-{uuid.uuid4().hex}"
    flags = origin.get("/api/v1/flags", {"X-Request-ID": request_id})
    found += diagnosis.of_headers(flags, request_id)
    found += diagnosis.of_flags(flags)
    found += diagnosis.of_page(origin.get("/"))
    clear = not origin.is_tls and origin.speaks_http2_in_clear()
    found += diagnosis.of_protocols(origin.protocols() if origin.is_tls else None, clear)
    found += diagnosis.of_handshake(origin.handshake(RUN, origin.url), origin.url)
    found += diagnosis.of_events(*origin.first_event("/api/v1/flags/events", event_seconds), event_seconds)
    return list(dict.fromkeys(found))


def main() -> int:
    """Examine the origin that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="https://host of the deployment, as browsers know it")
    try:
        origin = Outside(parser.parse_args().url)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    findings = examine(origin, expected_versions())
    sys.stdout.write(diagnosis.report(findings))
    return int(any(not finding.is_note for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
