"""What trials showed is written into the page, between its marks and nowhere else."""

from collections import Counter

import pytest

from tests.chaos.report import BEGIN, END, ROOT, Report, replaced
from tests.chaos.trial import Finding


def found(name: str) -> Report:
    made = Report()
    made.add(Finding(name, "none", 6, Counter({"504": 1, "200": 3}), 4.04, Counter({1006: 2}), 0.5, 1.0))
    return made


def test_the_table_says_what_was_seen_and_on_which_commit() -> None:
    table = found("disk full").table("abc123")
    assert table.startswith("At commit abc123:\n\n| what |")
    assert table.endswith("| disk full |  | 6 | 200: 3, 504: 1 | 4.0 s | 2 | 0.5 s | 1.0 s |\n")


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    page = f"before\n{BEGIN}old\n{END}after\n"
    assert replaced(page, "new\n") == f"before\n{BEGIN}new\n{END}after\n"
    assert replaced(replaced(page, "newer\n"), "new\n") == replaced(page, "new\n")


@pytest.mark.parametrize("page", ["", BEGIN, END, END + BEGIN])
def test_a_page_without_marks_is_left_as_it_is(page: str) -> None:
    with pytest.raises(ValueError, match="has no"):
        replaced(page, "new\n")


def test_the_page_of_the_project_has_them() -> None:
    assert "At commit " in (ROOT / "docs/reliability.md").read_text().partition(BEGIN)[2].partition(END)[0]
