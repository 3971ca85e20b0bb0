from datetime import UTC, date, datetime

import pytest

from bff_demo.sessions import Session, list_sessions

SESSIONS = {session.day: session for session in list_sessions(2024, 2025)}


def clock(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%dT%H:%M")


@pytest.mark.parametrize(
    "closed",
    [
        "2024-01-01", "2024-01-15", "2024-02-19", "2024-03-29", "2024-05-27", "2024-06-19", "2024-07-04", "2024-09-02",
        "2024-11-28", "2024-12-25", "2025-01-01", "2025-01-09", "2025-01-20", "2025-02-17", "2025-04-18", "2025-05-26",
        "2025-06-19", "2025-07-04", "2025-09-01", "2025-11-27", "2025-12-25", "2024-10-05", "2024-10-06",
    ],
)  # fmt: skip
def test_exchange_is_closed(closed: str) -> None:
    assert date.fromisoformat(closed) not in SESSIONS


def test_two_years_have_252_and_250_sessions() -> None:
    assert [sum(day.year == year for day in SESSIONS) for year in (2024, 2025)] == [252, 250]


def test_six_sessions_close_early() -> None:
    early = [str(day) for day, session in SESSIONS.items() if session.minutes != 390]
    assert early == ["2024-07-03", "2024-11-29", "2024-12-24", "2025-07-03", "2025-11-28", "2025-12-24"]
    assert all(SESSIONS[date.fromisoformat(day)].minutes == 210 for day in early)


@pytest.mark.parametrize(
    ("day", "opens", "closes"),
    [
        ("2024-03-08", "14:30", "21:00"),
        ("2024-03-11", "13:30", "20:00"),
        ("2024-11-01", "13:30", "20:00"),
        ("2024-11-04", "14:30", "21:00"),
        ("2025-03-07", "14:30", "21:00"),
        ("2025-03-10", "13:30", "20:00"),
        ("2025-10-31", "13:30", "20:00"),
        ("2025-11-03", "14:30", "21:00"),
        ("2025-07-03", "13:30", "17:00"),
        ("2024-11-29", "14:30", "18:00"),
    ],
)
def test_session_keeps_new_york_hours(day: str, opens: str, closes: str) -> None:
    session: Session = SESSIONS[date.fromisoformat(day)]
    assert (clock(session.open), clock(session.close)) == (f"{day}T{opens}", f"{day}T{closes}")
