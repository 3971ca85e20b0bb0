"""JSON that somebody else wrote, read so that it can be written again. Pure.

orjson reads what it would refuse to write (nesting from 255 levels on), and refuses what Python's own json writes (NaN,
Infinity) or passes on (lone surrogates, integers of any size). Whatever `loads` returns, `orjson.dumps` accepts with
room for more than fifty levels around it.
"""

import json
import math
import re
from typing import Any, Final

import orjson

MAX_DEPTH: Final = 200
"""Most levels of arrays and objects in each other; orjson writes 254."""
_ORJSON_DEPTH: Final = 1024
_WRAPPED: Final = _ORJSON_DEPTH - MAX_DEPTH
_LONGEST_FINITE: Final = 310
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


class MalformedJson(ValueError):
    """A text is not JSON, or is nested too deeply to be read; the message says which, and nothing of the text."""


def loads(text: bytes | str) -> Any:
    """Return the value of a JSON text, normalised so that it can be written as JSON again.

    Lone surrogates become U+FFFD, integers beyond 64 bits the nearest float, and what is no finite number (NaN,
    Infinity, 1e400) or nested deeper than `MAX_DEPTH` null. The caller bounds the size of `text`. Raises MalformedJson.
    """
    try:
        return orjson.loads(text) if _openings(text) <= MAX_DEPTH else _shallow(text)
    except orjson.JSONDecodeError:
        return _lenient(text)


def _openings(text: bytes | str) -> int:
    """Return how many arrays and objects a text may begin, which bounds its depth."""
    if isinstance(text, bytes):
        return text.count(b"[") + text.count(b"{")
    return text.count("[") + text.count("{")


def _shallow(text: bytes | str) -> Any:
    """Return what orjson reads, which raises JSONDecodeError for what is nested too deeply.

    orjson's own bound on nesting is made ours by that many arrays around the text, which costs no second walk.
    """
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    value = orjson.loads(b"[" * _WRAPPED + raw + b"]" * _WRAPPED)
    for _ in range(_WRAPPED):
        if len(value) != 1:  # `1],[2` is no JSON, but would be within brackets
            raise MalformedJson("not JSON")
        value = value[0]
    return value


def _lenient(text: bytes | str) -> Any:
    """Return what Python's json reads, normalised."""
    try:
        value = json.loads(text, parse_int=_integer, parse_float=_finite, parse_constant=_none)
    except RecursionError as error:
        raise MalformedJson("JSON is nested too deeply") from error
    except ValueError as error:
        raise MalformedJson("not JSON") from error
    return _normalised(value, MAX_DEPTH)


def _normalised(value: Any, levels: int) -> Any:
    """Return a value with its texts put right; it may have so many levels of arrays and objects."""
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATES.sub("\N{REPLACEMENT CHARACTER}", value)
    if not isinstance(value, list | dict):
        return value
    if not levels:
        return None
    if isinstance(value, list):
        return [_normalised(item, levels - 1) for item in value]
    return {_normalised(name, 0): _normalised(item, levels - 1) for name, item in value.items()}


def _integer(digits: str) -> int | float | None:
    if len(digits) > _LONGEST_FINITE:  # infinite as a float, and slow to read
        return None
    number = int(digits)
    return number if -(2**63) <= number < 2**64 else _finite(digits)


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _none(_: str) -> None:
    return None
