"""Two reports are held against each other: ratios count, absolute figures are only shown."""

from typing import Any

from bench.compare import compare


def report(**figures: tuple[float, str, str]) -> dict[str, Any]:
    made = [
        {"name": name, "value": value, "unit": unit, "better": better, "goal": None}
        for name, (value, unit, better) in figures.items()
    ]
    return {"machine": "any", "sections": {"section": {"figures": made}}}


def test_a_ratio_that_is_a_third_worse_counts() -> None:
    before, after = report(share=(0.3, "x", "higher")), report(share=(0.2, "x", "higher"))
    assert [bad for _, bad in compare(before, after)] == [True]
    assert [bad for _, bad in compare(after, before)] == [False]


def test_an_absolute_figure_depends_on_the_machine_and_does_not_count() -> None:
    rows = list(compare(report(p50=(1.0, "ms", "lower")), report(p50=(3.0, "ms", "lower"))))
    assert [bad for _, bad in rows] == [False]
    assert "worse" in rows[0][0]


def test_what_only_one_report_has_is_told() -> None:
    rows = dict(compare(report(old=(1.0, "x", "lower")), report(new=(1.0, "x", "lower"))))
    assert rows == {"section: old: only before": False, "section: new: only now": False}


def test_sections_and_figures_of_an_older_report_are_found_under_their_names_of_today() -> None:
    old, new = (
        report(**{"added by the door": (1.0, "ms", "lower")}),
        report(**{"added by the relay": (1.0, "ms", "lower")}),
    )
    old["sections"]["door"] = old["sections"].pop("section")
    new["sections"]["passthrough"] = new["sections"].pop("section")
    assert [text for text, _ in compare(old, new)] == ["passthrough: added by the relay: 1 → 1 ms (the same)"]
