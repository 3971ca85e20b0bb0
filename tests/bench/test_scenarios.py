"""`make bench` knows every scenario there is, and refuses the name of one that there is not."""

from pathlib import Path

import pytest
from bench import __main__ as bench

SCENARIOS = Path(bench.__file__).parent / "scenarios"


def test_every_scenario_is_run_by_make_bench() -> None:
    assert {path.stem for path in SCENARIOS.glob("*.py")} == set(bench.SCENARIOS)


def test_a_scenario_that_does_not_exist_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bench", "charts", "chart"])
    assert bench.main() == 2
    assert "no such scenario: chart;" in capsys.readouterr().err
