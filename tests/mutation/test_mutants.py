import ast

import pytest

from tests.mutation.mutants import mutants, mutate

SOURCE = '''"""A module."""
import logging
log = logging.getLogger()
LIMIT: int = 3

class Counter:
    def add(self, n: int) -> bool:
        """Add."""
        log.info("adding %d", 7)
        if n <= LIMIT and not self.full:
            self.total += n
        return min(self.total, n)
'''


def changed(index: int) -> set[str]:
    before, after = ast.unparse(ast.parse(SOURCE)).split("\n"), ast.unparse(mutate(SOURCE, index)).split("\n")
    return {new for old, new in zip(before, after, strict=True) if old != new}


def test_each_mutant_changes_one_line_and_is_named_after_it() -> None:
    found = mutants(SOURCE)
    assert [changed(index) for index in range(len(found))] == [
        {"LIMIT: int = 4"},
        {"        if n <= LIMIT or not self.full:"},
        {"        if n < LIMIT and (not self.full):"},
        {"        if n <= LIMIT and (not not self.full):"},
        {"            self.total -= n"},
        {"        return None"},
        {"        return max(self.total, n)"},
    ]
    assert found[0].name == "module: `3` → `4`"
    assert found[4].function == "Counter.add"


def test_what_is_only_said_is_no_mutant() -> None:
    assert (
        mutants('"""Text."""\nimport os\nfrom os import path\n\ndef f() -> None:\n    """Text."""\n    log.info(7)\n')
        == []
    )


def test_equal_changes_of_a_function_are_numbered() -> None:
    assert [mutant.name for mutant in mutants("def f(a, b):\n    g(1)\n    h(1)\n")] == [
        "f: `g(1)` → `None`", "f: `1` → `2`", "f: `h(1)` → `None`", "f: `1` → `2` #2",
    ]  # fmt: skip


def test_a_mutant_that_is_not_there_is_an_error() -> None:
    with pytest.raises(IndexError):
        mutate(SOURCE, 99)
