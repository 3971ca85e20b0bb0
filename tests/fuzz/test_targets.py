from collections import Counter
from pathlib import Path

from tests.fuzz.targets import ROOT, next_target, targets


def test_each_target_has_its_share_of_the_time_however_long_its_turns_are() -> None:
    shares, turns, used = {"a": 2, "b": 1, "c": 1}, {"a": 1.0, "b": 20.0, "c": 3.0}, Counter[str]()
    while sum(used.values()) < 2000:
        name = next_target(shares, used)
        used[name] += turns[name]  # type: ignore[assignment]
    assert all(abs(used[name] - 500 * share) < 25 for name, share in shares.items())


def test_everybody_has_a_turn_before_anybody_has_another() -> None:
    used: dict[str, float] = {}
    order = []
    for _ in range(3):
        order.append(next_target({"a": 1, "b": 9, "c": 1}, used))
        used[order[-1]] = 1.0
    assert order == ["a", "b", "c"]


def test_every_file_that_draws_examples_is_searched() -> None:
    drawing = {
        str(file.relative_to(ROOT))
        for file in Path(ROOT / "tests").rglob("test_*.py")
        if "@given(" in file.read_text() and file != Path(__file__)
    }
    assert drawing <= {variant for target in targets() for variant in target.variants}
