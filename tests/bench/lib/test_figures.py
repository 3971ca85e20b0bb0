"""Figures are kept for `make bench-compare` as they were given."""

from typing import Any

import pytest
from bench.lib.figures import FILE, Figure, figure, read


def test_figures_are_kept_as_they_were_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(FILE, str(tmp_path / "figures"))
    figure("warm", 92.0, "x", better="higher", goal=50)
    figure("cold", 1.2, "x", goal=1.1)
    kept = read((tmp_path / "figures").read_text())
    assert kept == [Figure("warm", 92.0, "x", "higher", 50), Figure("cold", 1.2, "x", "lower", 1.1)]
    assert [each.is_met for each in kept] == [True, False]
    assert "goal: at least 50 x, met" in capsys.readouterr().out
