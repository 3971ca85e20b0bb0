from tests.mutation.mutants import Mutant
from tests.mutation.report import Result, updated

PAGE = "# Tests\n\n<!-- mutants -->\n<!-- /mutants -->\n\nMore.\n"
SURVIVOR = Mutant("f", "`1` → `2`", 1, 7)
OTHER = Mutant("g", "`a < b` → `a <= b`", 2, 9)
ORDER = ["one", "two"]


def test_a_module_has_a_row_and_its_survivors_their_reasons() -> None:
    page = updated(PAGE, ORDER, [Result("one", 10, [SURVIVOR, OTHER])], {"one": {"f: `1` → `2`": "a bound"}}, "abc")
    assert "| `one` | 10 | 8 | 80% | abc |" in page
    assert "- `one` f: `1` → `2`: a bound\n- `one` g: `a < b` → `a <= b` #2: **not examined**\n" in page
    assert page.startswith("# Tests\n\n<!-- mutants -->\n")
    assert page.endswith("\n<!-- /mutants -->\n\nMore.\n")


def test_what_was_measured_before_stays_until_it_is_measured_again() -> None:
    page = updated(PAGE, ORDER, [Result("two", 4, [OTHER]), Result("one", 10, [SURVIVOR])], {}, "abc")
    page = updated(page, ORDER, [Result("two", 5, [])], {}, "def")
    assert page.index("| `one` | 10 | 9 | 90% | abc |") < page.index("| `two` | 5 | 5 | 100% | def |")
    assert "- `one` f" in page
    assert "- `two`" not in page


def test_a_module_that_is_no_longer_tried_loses_its_row() -> None:
    page = updated(PAGE, ORDER, [Result("one", 10, [SURVIVOR])], {}, "abc")
    assert "`one`" not in updated(page, ["two"], [], {}, "def")
