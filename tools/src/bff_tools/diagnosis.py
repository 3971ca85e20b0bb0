"""What an observation of an origin means, and what to do about it. Pure: observations in, findings out."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Final

from bff_tools.outside import Answer, Protocols

CLOCK_SECONDS: Final = 30.0
"""How far clocks may be apart: conditional requests and `Retry-After` dates still mean something then."""
CERTIFICATE_DAYS: Final = 14.0
ROUTES: Final = {
    "/api/v1/flags": "proxy",
    "/api/v1/openapi/aggregator.json": "aggregator",
    "/api/v1/openapi/wsrelay.json": "wsrelay",
    "/healthz": "backend",
}
"""A path of each part, which it answers without credentials."""
PAGE_HEADERS: Final = (
    "content-security-policy",
    "x-content-type-options",
    "referrer-policy",
    "permissions-policy",
    "cross-origin-opener-policy",
)
SIX: Final = (
    "a browser then opens at most six connections to a host, over all of its tabs, and each open stream takes one"
)


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be, and its remedy; a note is no reason to fail."""

    what: str
    remedy: str
    is_note: bool = False


def of_reach(answer: Answer) -> Iterator[Finding]:
    """Judge the response to /health/live; anything found here makes every other question idle."""
    if answer.error:
        yield Finding(f"the origin does not answer: {answer.error}", "check name, port, firewall, and that nginx runs")
    elif answer.status == 421:
        yield Finding("the origin does not serve this host (421)", "add the name to NGINX_HOSTS")
    elif answer.status != 200 or _json(answer).get("status") != "ok":
        yield Finding(
            f"/health/live answers {answer.status}, and not as this origin does",
            "something else listens here, or what stands in front does not forward the path as it is",
        )


def of_health(answer: Answer, expected: Mapping[str, str]) -> Iterator[Finding]:
    """Judge /health: each service's state, its dependencies, and its version beside that of this checkout."""
    services = _json(answer).get("services")
    if not isinstance(services, dict):
        yield Finding(
            f"/health answers {answer.status} without the services' states",
            "forward /health to the origin as it is; see docs/troubleshooting.md",
        )
        return
    for name, version in expected.items():
        told = services.get(name) or {}
        if told.get("status") not in {"ok", "degraded"}:
            yield Finding(
                f"{name} is down", f"look at its log; `kubectl -n NAMESPACE rollout status deployment/bff-{name}`"
            )
            continue
        for dependency, state in (told.get("dependencies") or {}).items():
            if state.get("status") not in {"ok", "disabled"}:
                yield Finding(
                    f"{name}: {dependency} is {state.get('status')} ({state.get('error', 'no reason given')})",
                    "see the section of its alert in docs/runbook.md",
                )
        if told.get("version") != version:
            yield Finding(
                f"{name} is version {told.get('version')}, this checkout has {version}",
                f"`make deploy SERVICE={name} …`; if it was deployed, old replicas are left: look at its roll-out",
            )


def of_route(path: str, part: str, answer: Answer) -> Iterator[Finding]:
    """Judge the response of a path that one part serves."""
    details = _error(answer).get("details")
    if answer.error:
        yield Finding(f"{path} does not answer: {answer.error}", f"look at the log of nginx and of {part}")
    elif isinstance(details, dict) and details.get("source") == "edge":
        yield Finding(
            f"{path} does not reach {part}: nginx itself says {answer.status}",
            f"check {part.upper()}_UPSTREAM, network policies and that {part} runs"
            if part != "backend"
            else "check BACKEND_URL: the rollback path does not work",
        )
    elif answer.status in {404, 405} or answer.status >= 500:
        yield Finding(
            f"{path} answers {answer.status}, and not as {part} does",
            "what stands in front forwards only some paths: forward all of them to the origin",
        )


def of_headers(answer: Answer, sent_id: str) -> Iterator[Finding]:
    """Judge the headers of a response of the API to a request that had the id `sent_id`."""
    told = answer.headers.get("x-request-id")
    if told != sent_id:
        yield Finding(
            f"the request id comes back as {told!r}, not as it was sent",
            "let X-Request-ID pass in both directions, or `make trace` and logs cannot be joined",
        )
    if answer.headers.get("x-content-type-options") != "nosniff":
        yield Finding("responses have no X-Content-Type-Options", "let the origin's headers pass as they are")


def of_page(answer: Answer) -> Iterator[Finding]:
    """Judge the page at /."""
    if answer.status == 404:
        yield Finding("there is no page at /", "build it into the image (deploy/nginx/Dockerfile)", is_note=True)
    elif answer.status != 200:
        yield Finding(f"/ answers {answer.status}", "forward / to the origin")
    elif missing := [name for name in PAGE_HEADERS if name not in answer.headers]:
        yield Finding(
            f"the page comes without {', '.join(missing)}",
            "what stands in front removes headers; FRONTEND_CSP=off leaves the first one out",
        )


def of_protocols(protocols: Protocols | None, clear_http2: bool) -> Iterator[Finding]:
    """Judge what TLS came to; None where the URL has none."""
    if protocols is None:
        yield Finding(
            f"without TLS browsers speak HTTP/1.1: {SIX}",
            "end TLS in front of the origin, or give nginx a certificate (docs/deploy.md)",
            is_note=True,
        )
        if not clear_http2:
            yield Finding("no HTTP/2 without TLS either", "nginx speaks it from 1.25.1 on", is_note=True)
        return
    if protocols.error:
        yield Finding(f"the certificate does not hold: {protocols.error}", "install one for this name, with its chain")
    elif protocols.days_left < CERTIFICATE_DAYS:
        yield Finding(f"the certificate ends in {protocols.days_left:.0f} days", "renew it, and see why that failed")
    if protocols.alpn != "h2":
        yield Finding(f"only HTTP/1.1 is spoken: {SIX}", "turn HTTP/2 on where TLS ends (`http2 on;` in nginx)")


def of_handshake(answer: Answer, page: str) -> Iterator[Finding]:
    """Judge the relay's response to a WebSocket handshake of the origin's own page, for a run that does not exist."""
    code = _error(answer).get("code")
    if answer.status == 101 or (code and code not in {"UPGRADE_REQUIRED", "FORBIDDEN", "INTERNAL"}):
        return  # opened, or refused by the relay in its own words, which heard a handshake
    if code == "FORBIDDEN":
        yield Finding(
            f"WebSockets of the origin's own page ({page}) are refused: it knows itself by another name or scheme",
            "name what stands in front in NGINX_TRUSTED_PROXIES and have it send X-Forwarded-Proto and -Host, "
            f"or add {page} to BFF_ALLOWED_ORIGINS",
        )
    else:
        yield Finding(
            f"a WebSocket handshake is answered {answer.status or answer.error}: it arrives without its Upgrade",
            "forward Upgrade and Connection over HTTP/1.1 at every hop "
            "(nginx: proxy_http_version 1.1, proxy_set_header Upgrade $http_upgrade, Connection upgrade)",
        )


def of_events(answer: Answer, seconds: float | None, within: float) -> Iterator[Finding]:
    """Judge how the first event of a stream came, which the proxy sends at once."""
    if answer.status == 503:
        yield Finding("no place is free for a stream of events", "see BffCapacityExhausted in docs/runbook.md")
    elif answer.error or answer.status != 200:
        yield Finding(f"/api/v1/flags/events answers {answer.error or answer.status}", "forward the path to the origin")
    elif seconds is None:
        yield Finding(
            f"event streams are held back: nothing within {within:.0f} s of what is sent at once",
            "turn response buffering off at every hop (nginx: proxy_buffering off), compression of "
            "text/event-stream as well",
        )


def of_clock(answer: Answer, now: float) -> Iterator[Finding]:
    """Judge the Date of a response beside this machine's clock, in seconds since the epoch."""
    try:
        apart = parsedate_to_datetime(answer.headers["date"]).timestamp() - now
    except (KeyError, ValueError):
        yield Finding("responses have no Date", "let the origin's headers pass as they are")
        return
    if abs(apart) > CLOCK_SECONDS:
        yield Finding(
            f"the origin's clock is {abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} this machine's",
            "set both by NTP: freshness, tokens and flags go by it",
        )


def of_flags(answer: Answer) -> Iterator[Finding]:
    """Judge what the flags are."""
    flags = _json(answer).get("flags")
    if answer.status != 200 or not isinstance(flags, list):
        return  # of_route has said so
    known = {flag.get("key"): flag for flag in flags if isinstance(flag, dict)}
    if not known:
        yield Finding("no flags are defined: everything goes over the legacy paths", "set BFF_FLAGS_FILE")
    for key, flag in known.items():
        if flag.get("source") == "rollback":
            yield Finding(
                f"{key} was turned off by itself: {flag.get('reason')}", "see BffFlagRolledBack in docs/runbook.md"
            )
    if (master := known.get("bff")) and not master.get("value") and not master.get("rollout"):
        yield Finding("the flag bff is off: everything goes over the legacy paths", "docs/migration.md", is_note=True)


def report(findings: Sequence[Finding]) -> str:
    """Return the findings for a reader, problems first."""
    if not findings:
        return "nothing found\n"
    lines = []
    for finding in sorted(findings, key=lambda finding: finding.is_note):
        lines += [f"{'note' if finding.is_note else 'PROBLEM'}: {finding.what}", f"    → {finding.remedy}"]
    return "\n".join(lines) + "\n"


def _json(answer: Answer) -> dict[str, Any]:
    try:
        found = json.loads(answer.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _error(answer: Answer) -> dict[str, Any]:
    found = _json(answer).get("error")
    return found if isinstance(found, dict) else {}
