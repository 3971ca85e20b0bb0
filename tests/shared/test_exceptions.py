"""Exceptions are made where they are raised: one that is kept keeps, by its traceback, all that ever raised it."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import bff_aggregator
import bff_proxy
import bff_shared
import bff_wsrelay

PACKAGES = (bff_aggregator, bff_proxy, bff_shared, bff_wsrelay)


def modules() -> Iterator[ModuleType]:
    for package in PACKAGES:
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.rpartition(".")[2] != "__main__":
                yield importlib.import_module(found.name)


def values(held: Any, depth: int = 3) -> Iterator[Any]:
    """Yield what an object holds, itself first; into a few levels of containers, and classes' attributes."""
    yield held
    if depth == 0:
        return
    inner: Any = ()
    if isinstance(held, Mapping):
        inner = held.values()
    elif isinstance(held, list | tuple | set | frozenset):
        inner = held
    elif isinstance(held, type) and held.__module__.startswith("bff_"):
        inner = vars(held).values()
    for value in list(inner):
        yield from values(value, depth - 1)


def test_no_module_keeps_an_exception() -> None:
    kept = [
        f"{module.__name__}.{name}"
        for module in modules()
        for name, held in vars(module).items()
        for value in values(held)
        if isinstance(value, BaseException)
    ]
    assert kept == []


def is_frozen(kind: type) -> bool:
    """Tell whether a class is a frozen dataclass."""
    return bool(getattr(vars(kind).get("__dataclass_params__"), "frozen", False))


def test_no_exception_is_frozen() -> None:
    """Whoever passes an exception on sets its traceback (contextlib does), which a frozen one refuses."""
    frozen = {
        f"{module.__name__}.{held.__name__}"
        for module in modules()
        for held in vars(module).values()
        if isinstance(held, type) and issubclass(held, BaseException) and is_frozen(held)
    }
    assert frozen == set()
