"""What observations of an origin mean."""

import json
from collections.abc import Iterator

import pytest

from bff_tools import diagnosis
from bff_tools.diagnosis import Finding
from bff_tools.outside import Answer, Outside, Protocols

EXPECTED = {"proxy": "0.2.0"}


def only(found: Iterator[Finding]) -> str:
    (finding,) = found
    assert finding.remedy
    return finding.what


def document(status: int = 200, **fields: object) -> Answer:
    return Answer(status, {}, json.dumps(fields).encode())


def test_an_origin_that_answers_is_asked_on() -> None:
    assert list(diagnosis.of_reach(Answer(200, {}, b'{"status":"ok"}'))) == []


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(error="timed out"), "the origin does not answer: timed out"),
        (document(421), "the origin does not serve this host (421)"),
        (Answer(200, {}, b"<html>"), "/health/live answers 200, and not as this origin does"),
        (document(502), "/health/live answers 502, and not as this origin does"),
    ],
)
def test_an_origin_that_cannot_be_reached_says_how(answer: Answer, told: str) -> None:
    assert only(diagnosis.of_reach(answer)) == told


def health(**proxy: object) -> Answer:
    return document(services={"proxy": {"version": "0.2.0", "status": "ok"} | proxy})


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (health(version="0.1.0"), "proxy is version 0.1.0, this checkout has 0.2.0"),
        (health(status="down"), "proxy is down"),
        (
            health(status="degraded", dependencies={"redis": {"status": "down", "error": "refused"}}),
            "proxy: redis is down (refused)",
        ),
        (document(), "/health answers 200 without the services' states"),
    ],
)
def test_a_service_that_is_not_well_is_named(answer: Answer, told: str) -> None:
    assert only(diagnosis.of_health(answer, EXPECTED)) == told


def test_services_that_are_well_are_not_mentioned() -> None:
    assert list(diagnosis.of_health(health(dependencies={"redis": {"status": "ok"}}), EXPECTED)) == []


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            document(502, error={"code": "BACKEND_UNAVAILABLE", "details": {"source": "edge"}}),
            "/healthz does not reach backend: nginx itself says 502",
        ),
        (Answer(404, {}, b"no such bucket"), "/healthz answers 404, and not as backend does"),
        (Answer(error="reset"), "/healthz does not answer: reset"),
    ],
)
def test_a_route_that_leads_nowhere_is_named(answer: Answer, told: str) -> None:
    assert only(diagnosis.of_route("/healthz", "backend", answer)) == told


def test_a_part_that_wants_credentials_is_there() -> None:
    assert list(diagnosis.of_route("/healthz", "backend", Answer(401))) == []


def test_headers_that_are_lost_on_the_way_are_named() -> None:
    found = [finding.what for finding in diagnosis.of_headers(Answer(200, {"x-request-id": "other"}), "mine")]
    assert found == [
        "the request id comes back as 'other', not as it was sent",
        "responses have no X-Content-Type-Options",
    ]
    present = dict.fromkeys(diagnosis.PAGE_HEADERS, "x")
    assert list(diagnosis.of_page(Answer(200, present))) == []
    del present["permissions-policy"]
    assert only(diagnosis.of_page(Answer(200, present))) == "the page comes without permissions-policy"


@pytest.mark.parametrize(
    ("protocols", "told"),
    [
        (Protocols("h2", 3), "the certificate ends in 3 days"),
        (Protocols("h2", 0, "self-signed certificate"), "the certificate does not hold: self-signed certificate"),
    ],
)
def test_a_certificate_that_will_not_do_is_named(protocols: Protocols, told: str) -> None:
    assert only(diagnosis.of_protocols(protocols, clear_http2=False)) == told


@pytest.mark.parametrize("answer", [Answer(101), document(404, error={"code": "RUN_NOT_FOUND"})])
def test_a_handshake_that_the_relay_heard_is_good_whatever_it_said(answer: Answer) -> None:
    assert list(diagnosis.of_handshake(answer, "https://app.example")) == []


@pytest.mark.parametrize("answer", [Answer(400), Answer(200), Answer(error="no HTTP response")])
def test_a_handshake_that_nobody_heard_is_named(answer: Answer) -> None:
    assert "it arrives without its Upgrade" in only(diagnosis.of_handshake(answer, "https://app.example"))


@pytest.mark.parametrize(("apart", "count"), [(0, 0), (29, 0), (-31, 1), (31, 1)])
def test_clocks_may_be_half_a_minute_apart(apart: float, count: int) -> None:
    answer = Answer(200, {"date": "Thu, 01 Jan 1970 01:00:00 GMT"})
    assert len(list(diagnosis.of_clock(answer, 3600 - apart))) == count


def test_flags_that_went_off_by_themselves_are_a_problem_and_a_switch_that_is_off_a_note() -> None:
    flags = [
        {"key": "bff", "value": False, "rollout": None},
        {"key": "websocket", "value": False, "source": "rollback", "reason": "58 of 58 failed"},
    ]
    rolled, off = diagnosis.of_flags(document(flags=flags))
    assert (rolled.what, rolled.is_note) == ("websocket was turned off by itself: 58 of 58 failed", False)
    assert off.is_note


def test_a_report_has_problems_first_each_with_its_remedy() -> None:
    told = diagnosis.report([Finding("small", "later", is_note=True), Finding("large", "now")])
    assert told == "PROBLEM: large\n    → now\nnote: small\n    → later\n"
    assert diagnosis.report([]) == "nothing found\n"


@pytest.mark.parametrize("url", ["app.example", "ftp://a", "https://a/base", "https://"])
def test_a_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is not of the form"):
        Outside(url)
