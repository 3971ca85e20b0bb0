"""Clocks of single processes, set forward while they run (libfaketime)."""

from pathlib import Path

FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)


_STEADY = {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_FORCE_MONOTONIC_FIX": "0"}
"""The monotonic clock stays, and so do waits by it: where libfaketime mends those, threads wait seconds for the GIL."""


def adjustable(hand: Path) -> dict[str, str]:
    """Return the environment of a process whose wall clock is off by what the file `hand` says, such as `+25h`.

    It looks at the file about once a second. Without libfaketime the file has no effect.
    """
    hand.write_text("+0")
    if FAKETIME is None:
        return {}
    file = {"FAKETIME_TIMESTAMP_FILE": str(hand), "FAKETIME_CACHE_DURATION": "1"}
    return {"LD_PRELOAD": str(FAKETIME), **file, **_STEADY}


def ahead(by: str) -> dict[str, str]:
    """Return the environment of a process whose wall clock is off by `by`, such as `+1h`; needs libfaketime."""
    return {"LD_PRELOAD": str(FAKETIME), "FAKETIME": by, **_STEADY}
