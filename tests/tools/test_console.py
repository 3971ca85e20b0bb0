import io
from pathlib import Path

import pytest

from bff_tools import console
from bff_tools.console import Console, Tail, prefix


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_tail_gives_whole_lines_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path)
    assert tail.lines() == []
    with path.open("ab", buffering=0) as log:
        log.write(b"one\ntw")
        assert tail.lines() == ["one"]
        log.write(b"o\n\xff\n")
        assert tail.lines() == ["two", "�"]
        assert tail.lines() == []
    tail.close()


def test_a_log_that_grew_too_large_is_emptied_once_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "LARGEST_LOG", 10)
    path = tmp_path / "log"
    tail = Tail(path)
    with path.open("ab", buffering=0) as log:
        log.write(b"a line of more than ten\n")
        assert tail.lines() == ["a line of more than ten"]
        assert path.stat().st_size == 0
        log.write(b"next\n")
        assert tail.lines() == ["next"]
    tail.close()


def test_an_endless_line_comes_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "LONGEST_LINE", 4)
    path = tmp_path / "log"
    path.write_bytes(b"xxxxxxxx")
    tail = Tail(path)
    assert tail.lines() == ["xxxxxxxx"]
    tail.close()


def test_lines_stand_behind_the_padded_name() -> None:
    assert prefix("proxy", 0, 10, coloured=False) == "proxy      |"


def test_the_console_shows_everything_before_it_ends(tmp_path: Path) -> None:
    out = io.StringIO()
    shown = Console(out)
    shown.say("ready")
    for name in ("nginx", "proxy"):
        (tmp_path / name).write_text(f"hello from {name}\n")
    shown.follow((name, tmp_path / name) for name in ("nginx", "proxy"))
    shown.close()
    assert out.getvalue() == "ready\nnginx | hello from nginx\nproxy | hello from proxy\n"


def test_only_a_terminal_gets_colour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    (tmp_path / "log").write_text("x\n")
    out = Terminal()
    shown = Console(out)
    shown.follow([("proxy", tmp_path / "log")])
    shown.close()
    assert out.getvalue() == "\x1b[36mproxy |\x1b[0m x\n"


def test_a_terminal_that_is_gone_does_no_harm() -> None:
    out = io.StringIO()
    shown = Console(out)
    out.close()
    shown.say("ready")
    shown.close()
