"""Clocks of single processes, set forward while they run (libfaketime)."""

from pathlib import Path

FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)


def adjustable(hand: Path) -> dict[str, str]:
    """Return the environment of a process whose wall clock is off by what the file `hand` says, such as `+25h`.

    It looks at the file about once a second; the monotonic clock stays as it is. Without libfaketime the file has no
    effect.
    """
    hand.write_text("+0")
    if FAKETIME is None:
        return {}
    return {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(hand),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
