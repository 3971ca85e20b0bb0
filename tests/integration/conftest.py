"""A whole stack on free ports, started the way `make run` starts it."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from bff_tools import Stack, StackOptions
from tests.integration.standin import MakeStack


@pytest.fixture(scope="session")
def _no_settings_of_the_shell() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("BFF_")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of four files, which takes no Node to build."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "index.html").write_text('<!doctype html><title>t</title><script type="module" src="page.js"></script>')
    (folder / "page.js").write_text("export {};\n")
    (folder / "assets").mkdir()
    (folder / "assets/part.js").write_text("export {};\n")
    (folder / "icon.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    return folder


@pytest.fixture(scope="module")
def make_stack(_no_settings_of_the_shell: None, page: Path) -> Iterator[MakeStack]:
    """Return a function that starts a stack; every stack ends with the module that asked for it."""
    with ExitStack() as owned:
        yield lambda options: owned.enter_context(Stack(replace(options, page=options.page or page)))


@pytest.fixture(scope="module")
def stack(make_stack: MakeStack) -> Stack:
    """A stack with the demo backend, Redis-protocol server, three services and nginx, all of them answering.

    Shared by the tests of a module: one that ends a process starts it again.
    """
    return make_stack(StackOptions())
