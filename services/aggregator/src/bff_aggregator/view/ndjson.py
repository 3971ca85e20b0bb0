"""The lines of a view of a run, and what it asks of the chart. Pure.

A line is a JSON object made around a body that is JSON already, so that nothing is read and written anew.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import orjson

from bff_aggregator.backend.refusal_body import as_error
from bff_shared.errors import BffError, InvalidRequest

Pairs = tuple[tuple[str, str], ...]
FIRST: Final = ("from_date", "from")
LAST: Final = ("to_date", "to")
SIZE: Final = ("target_points", "target")
DEFAULT_TIMEFRAME, DEFAULT_POINTS = "1D", 2000
_NAMES: Final = frozenset(("timeframe", "rth_only", *SIZE, *FIRST, *LAST))


def line(name: str, status: int, body: bytes, tag: str | None = None) -> bytes:
    """Return a line that holds a part's JSON body, and the entity tag that a GET of the part alone would have."""
    return b"".join(line_pieces(name, status, (body,), tag))


def line_pieces(name: str, status: int, body: Sequence[bytes], tag: str | None = None) -> list[bytes]:
    """Return the pieces of such a line around those of a body, which may be too large to be copied."""
    etag = b"" if tag is None else b',"etag":' + orjson.dumps(tag)
    return [b'{"name":"%b","status":%d' % (name.encode(), status) + etag + b',"body":', *body, b"}\n"]


def failure(name: str, error: BffError, correlation_id: str) -> bytes:
    """Return the line of a part that failed."""
    return line(name, error.status, orjson.dumps(error.body(correlation_id), default=str))


def refusal(name: str, status: int, content: bytes, correlation_id: str) -> bytes:
    """Return the line of a part that the backend refuses: its own words if they are canonical, else ours."""
    return line(name, status, orjson.dumps(as_error(status, content, correlation_id)))


def chart_fields(query_string: bytes) -> Pairs:
    """Return what the query of a view says of the chart, with the defaults that only a view has.

    Raises InvalidRequest unless both ends of the window are given or neither; one without a value is not given.
    """
    given = parse_qsl(query_string.decode(errors="replace"), keep_blank_values=True)
    pairs = [(name, text) for name, text in given if name in _NAMES and (text.strip() or name not in (*FIRST, *LAST))]
    names = {name for name, _ in pairs}
    first, last = not names.isdisjoint(FIRST), not names.isdisjoint(LAST)
    if first != last:
        missing, other = (LAST[0], FIRST[0]) if first else (FIRST[0], LAST[0])
        raise InvalidRequest(f"invalid: {missing}", {missing: f"required with {other}"})
    if "timeframe" not in names:
        pairs.append(("timeframe", DEFAULT_TIMEFRAME))
    if names.isdisjoint(SIZE):
        pairs.append((SIZE[0], str(DEFAULT_POINTS)))
    return tuple(pairs)


def known_symbol(query_string: bytes, fields: Pairs) -> str | None:
    """Return the run's symbol as far as the client knows it; without a window it would save no time."""
    given = dict(parse_qsl(query_string.decode(errors="replace"), keep_blank_values=True))
    return given.get("symbol") if has_window(fields) else None


def has_window(fields: Pairs) -> bool:
    """Tell whether the chart's window is given."""
    return any(name in FIRST for name, _ in fields)


def chart_query(fields: Pairs, symbol: str, window: tuple[str, str]) -> bytes:
    """Return the query string of the chart; `window` is that of the run, which counts where none is given."""
    own = () if has_window(fields) else ((FIRST[0], window[0]), (LAST[0], window[1]))
    return urlencode([("symbol", symbol), *fields, *own, ("format", "columns")]).encode()


def window_of(run: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the dates of a run's window, None where it has none to speak of."""
    first, last = (_day(run.get(name)) for name in ("run_from", "run_to"))
    return (first, last) if first and last else None


def _day(moment: object) -> str:
    text = moment[:10] if isinstance(moment, str) else ""
    try:
        return date.fromisoformat(text).isoformat() if text else ""
    except ValueError:
        return ""
