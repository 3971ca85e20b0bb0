"""Run the frontend's own tools from pytest."""

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("frontend_script", ROOT / "tools/frontend.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def npm(*arguments: str, environment: Mapping[str, str] | None = None) -> str:
    """Run npm in `frontend/` with what its lock names installed, and return what it printed.

    Skips where there is no Node, except in CI; fails with the output unless it succeeds.
    """
    script = _script()
    node = script.find_node()
    if node is None:
        if os.environ.get("CI"):
            pytest.fail("Node is missing")
        pytest.skip("Node is missing")
    script.install(node)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (environment or {}).items():
            patch.setenv(name, value)
        done = node.run(*arguments, capture=True)
    output = f"{done.stdout}{done.stderr}"
    assert done.returncode == 0, output[-6000:]
    return output
