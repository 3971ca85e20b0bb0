"""A request's way through the logs: which lines belong to it, in which order, and how they are shown."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bff_tools.trace import main, newest, of, read, show

DAY = datetime(2026, 3, 2, 12, 0, 5, tzinfo=UTC)
NGINX = {
    "time": "2026-03-02T12:00:01+00:00", "ended_s": DAY.timestamp() - 4 + 0.050, "request_id": "a", "traceparent": "",
    "method": "GET", "uri": "/api/v1/bars?x=1", "status": 200, "duration_s": 0.050, "route": "proxy", "upgrade": "",
}  # fmt: skip
SERVICE = {
    "time": "2026-03-02T12:00:01.045Z", "level": "info", "service": "proxy", "message": "request", "request_id": "a",
    "trace_id": "t" * 32, "status": 200, "method": "GET", "route": "/api/v1/bars/{path}", "duration_ms": 44.0,
}  # fmt: skip
BACKEND = {
    "time": "2026-03-02T12:00:01.040Z", "service": "backend", "message": "request", "method": "GET",
    "path": "/bars?x=1", "status": 200, "duration_ms": 30.0, "request_id": "a",
    "traceparent": f"00-{'t' * 32}-{'b' * 16}-01",
}  # fmt: skip


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "8080"
    folder.mkdir()
    other = json.dumps({**SERVICE, "request_id": "b", "trace_id": "u" * 32})
    (folder / "backend.log").write_text(f"demo backend listening\n{json.dumps(BACKEND)}\n")
    (folder / "nginx.log").write_text(f"{json.dumps(NGINX)}\n")
    (folder / "proxy.log").write_text(f"{other}\n{json.dumps(SERVICE)}\n[1,2]\n{{\n")
    return folder


def test_lines_stand_in_the_order_in_which_they_began(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["a", "--logs", str(logs)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "a: 3 lines, 50.0 ms, from 2026-03-02T12:00:01.000Z",
        "   begins at      takes",
        "      0.0 ms    50.0 ms  nginx        GET /api/v1/bars?x=1 200  route=proxy",
        "      1.0 ms    44.0 ms  proxy        GET 200  route=/api/v1/bars/{path}",
        "     10.0 ms    30.0 ms  backend      GET /bars?x=1 200",
    ]


def test_a_trace_id_finds_what_carries_it(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["t" * 32, "--logs", str(logs)]) == 0
    assert [line.split()[4] for line in capsys.readouterr().out.splitlines()[2:]] == ["proxy", "backend"]


def test_an_unknown_id_is_one_line_of_error(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["z", "--logs", str(logs)]) == 1
    assert capsys.readouterr().err == f"error: no log in {logs} knows z\n"


def test_lines_made_for_a_terminal_are_understood() -> None:
    step = read("proxy", "12:00:01.045 INFO    request method=GET status=200 duration_ms=44.0 request_id=a", DAY)
    assert step is not None
    assert (step.ids, step.seconds) == ({"a"}, 0.044)
    assert step.begun == pytest.approx(DAY.timestamp() - 4 + 0.001, abs=1e-5)
    assert step.fields["message"] == "request"


def test_a_terminals_line_from_before_midnight_is_of_the_day_before() -> None:
    step = read(
        "proxy", "23:59:59.000 WARNING the answer broke off request_id=a", datetime(2026, 3, 2, 0, 0, 1, tzinfo=UTC)
    )
    assert step is not None
    assert datetime.fromtimestamp(step.begun, UTC).day == 1
    assert list(show("a", of("a", [step])))[2] == "      0.0 ms             proxy        the answer broke off"


@pytest.mark.parametrize("text", ["", "null", "7", "{}", "[]", "Traceback (most recent call last):"])
def test_what_is_no_line_of_a_log_is_passed_over(text: str) -> None:
    assert read("proxy", text, DAY) is None


def test_the_newest_folder_is_the_one_that_was_written_last(tmp_path: Path, logs: Path) -> None:
    assert newest(tmp_path / "nothing") is None
    assert newest(tmp_path) == logs
