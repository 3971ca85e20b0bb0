"""Keys of the backend's: symbols, strategies and ids of runs, handed on as they came. Pure.

Case and characters are the backend's own affair: `AMpB` and `AMPB` are two companies, `^GSPC` is an index. So a key is
any text of printable characters (no control or format characters, no blanks but spaces), bounded in length, and
whoever puts it into an address percent-encodes it as UTF-8. U+FFFD stands for bytes that were no UTF-8, so it is none.
An id of a run is a step of a path as well: `.`, `..` and what holds a `/` would lead elsewhere (RFC 3986 section 5.2.4;
proxies decode `%2F`).
"""

import re
from typing import Final

MAX_SYMBOL: Final = 64
MAX_RUN_ID: Final = 256
SYMBOL_RULE: Final = f"1 to {MAX_SYMBOL} printable characters, no space at either end"
RUN_ID_RULE: Final = f"1 to {MAX_RUN_ID} printable characters, no `/`, and neither `.` nor `..`"

_DATASET: Final = re.compile(r"(.+)-[0-9]{4}-[0-9]+[A-Za-z]+", re.DOTALL)


def dataset_symbol(dataset_id: object) -> str | None:
    """Return the symbol in a dataset's id, None when there is none.

    That is what stands before year and bar length (`BRK-B-2024-1m`), in another id what stands before the first `-`.
    """
    if not isinstance(dataset_id, str):
        return None
    dated = _DATASET.fullmatch(dataset_id)
    return dated[1] if dated else dataset_id.partition("-")[0] or None


def is_key(text: str, longest: int) -> bool:
    """Tell whether a text can be a key of the backend's of at most `longest` characters."""
    return 0 < len(text) <= longest and text.isprintable() and "\ufffd" not in text


def is_symbol(text: str) -> bool:
    """Tell whether a text can name an instrument; it travels in a query."""
    return is_key(text, MAX_SYMBOL) and text == text.strip()


def is_run_id(text: str) -> bool:
    """Tell whether a text can name a run; it travels in a path."""
    return is_key(text, MAX_RUN_ID) and "/" not in text and text not in {".", ".."}
