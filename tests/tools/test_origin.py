"""What stands at `/`: the built page, and nothing where it is not built."""

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from bff_tools import Stack, StackOptions, origin

ELSEWHERE = {name: ["127.0.0.1:1"] for name in ("proxy", "aggregator", "wsrelay")}


def test_make_run_installs_a_node_to_build_the_page_with() -> None:
    lock = (origin.ROOT / "requirements/run.txt").read_text()
    assert "\nnodejs-wheel-binaries==" in lock


def test_without_a_built_page_the_root_is_not_found_and_a_note_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(origin, "DASHBOARD", tmp_path)
    options = StackOptions(backend_url="http://127.0.0.1:1", upstreams=ELSEWHERE, redis=False)
    with Stack(options) as stack:
        assert stack.notes == ["the page is not built: / is not found, everything else works"]
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{stack.origin}/", timeout=30)  # noqa: S310  our own origin
        with refused.value:
            assert refused.value.code == 404


def test_a_built_page_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(origin, "DASHBOARD", tmp_path)
    (tmp_path / "index.html").write_text("<!doctype html>")
    assert origin.built_page() == tmp_path
