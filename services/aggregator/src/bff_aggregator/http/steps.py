"""Work in steps of a few milliseconds, so that it can be interrupted, continued and ended between them. Pure."""

from collections.abc import Callable, Generator
from typing import Any, TypeVar

T = TypeVar("T")
Steps = Generator[None, None, T]
"""A generator that yields wherever it may be interrupted; what it returns is its result."""


def one_step(work: Callable[..., T], *arguments: Any) -> Steps[T]:
    """Return a function's call as work that can be interrupted before it only."""
    yield
    return work(*arguments)


def finish(steps: Steps[T]) -> T:
    """Do all steps at once and return their result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
