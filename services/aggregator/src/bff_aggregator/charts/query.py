"""What a chart request asks for, read from its query string. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from urllib.parse import parse_qsl

from bff_aggregator.charts.timeframes import BY_NAME, Timeframe
from bff_aggregator.http.dates import RULE, utc_date
from bff_shared.backend_keys import SYMBOL_RULE, is_symbol
from bff_shared.errors import InvalidRequest

DEFAULT_TARGET, MIN_TARGET, MAX_TARGET = 10_000, 100, 50_000
FIRST_DATE = date(1970, 1, 1)
FUTURE_DAYS = 366
MAX_QUERY = 4096

_NUMBER = re.compile(r"[0-9]{1,6}")
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_NAMES = {
    "symbol": ("symbol",),
    "timeframe": ("timeframe",),
    "from_date": ("from_date", "from"),
    "to_date": ("to_date", "to"),
    "target_points": ("target_points", "target"),
    "rth_only": ("rth_only",),
    "format": ("format",),
}


class Format(StrEnum):
    """How an answer spells its bars."""

    ROWS = "rows"
    COLUMNS = "columns"
    POINTS = "points"
    ARROW = "arrow"


@dataclass(frozen=True, slots=True)
class ChartQuery:
    """A valid request; `first` and `last` are UTC dates, both included. `key` is the same for equal requests."""

    symbol: str
    timeframe: Timeframe
    first: date
    last: date
    target: int = DEFAULT_TARGET
    rth_only: bool = True
    format: Format = Format.ROWS
    key: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Note the key: a string remembers its hash, which dates and enumerations have computed time and again."""
        parts = (self.symbol, self.timeframe, self.first, self.last, self.target, self.rth_only, self.format)
        object.__setattr__(self, "key", " ".join(map(str, parts)))


class _Fields:
    """Reads fields one by one and collects what is wrong with them."""

    def __init__(self, given: Mapping[str, Sequence[str]]) -> None:
        self._given = given
        self.wrong: dict[str, str] = {}

    def text(self, name: str, default: str | None = None) -> str | None:
        """Return a field's trimmed value under its name or alias, or note that it is missing or contradicts itself."""
        values = {value.strip() for key in _NAMES[name] for value in self._given.get(key, ())}
        if len(values) > 1:
            self.wrong[name] = "given more than once, with different values"
        elif not values and default is None:
            self.wrong[name] = "required"
        else:
            return next(iter(values), default)
        return None

    def symbol(self) -> str:
        """Read the symbol, which is the backend's: case counts."""
        value = self.text("symbol")
        if value is not None and not is_symbol(value):
            self.wrong["symbol"] = f"expected {SYMBOL_RULE}"
        return value or ""

    def day(self, name: str) -> date:
        """Read an ISO date, or the UTC date of a date-time."""
        value = self.text(name)
        if value is not None:
            try:
                return utc_date(value)
            except ValueError:
                self.wrong[name] = RULE
        return FIRST_DATE

    def target(self) -> int:
        """Read the number of points."""
        value = self.text("target_points", str(DEFAULT_TARGET))
        number = int(value) if value is not None and _NUMBER.fullmatch(value) else 0
        if value is not None and not MIN_TARGET <= number <= MAX_TARGET:
            self.wrong["target_points"] = f"expected a whole number from {MIN_TARGET} to {MAX_TARGET}"
        return number

    def truth(self, name: str, default: str) -> bool:
        """Read `true` or `false`, also spelled 1, 0, yes, no."""
        value = self.text(name, default)
        if value is not None and value.lower() not in _TRUTH:
            self.wrong[name] = "expected true or false"
        return _TRUTH.get((value or default).lower(), True)

    def timeframe(self) -> Timeframe:
        """Read the timeframe."""
        value = self.text("timeframe")
        found = BY_NAME.get(value.upper()) if value else None
        if value is not None and found is None:
            self.wrong["timeframe"] = f"expected one of {', '.join(Timeframe)}"
        return found or Timeframe.DAY

    def format(self) -> Format:
        """Read the format."""
        value = self.text("format", Format.ROWS)
        if value is not None and value.lower() not in {*Format}:
            self.wrong["format"] = f"expected one of {', '.join(Format)}"
        return Format(value.lower()) if value and "format" not in self.wrong else Format.ROWS


def parse(query_string: bytes, today: date) -> ChartQuery:
    """Return what a query string asks for; `today` is the UTC date.

    Raises InvalidRequest with a reason for each bad, missing or contradictory field; unknown fields are ignored.
    """
    fields = _Fields(_decode(query_string))
    query = ChartQuery(
        fields.symbol(),
        fields.timeframe(),
        fields.day("from_date"),
        fields.day("to_date"),
        fields.target(),
        fields.truth("rth_only", "true"),
        fields.format(),
    )
    fields.wrong |= {} if fields.wrong.keys() & {"from_date", "to_date"} else _bad_range(query, today)
    if fields.wrong:
        raise InvalidRequest(f"invalid: {', '.join(fields.wrong)}", fields.wrong)
    return query


def parse_symbol(text: str) -> str:
    """Return one symbol, trimmed; raise InvalidRequest."""
    fields = _Fields({"symbol": [text]})
    symbol = fields.symbol()
    if fields.wrong:
        raise InvalidRequest("invalid: symbol", fields.wrong)
    return symbol


def _decode(query_string: bytes) -> dict[str, list[str]]:
    if len(query_string) > MAX_QUERY:
        raise InvalidRequest("invalid: the query", {"query": f"longer than {MAX_QUERY} bytes"})
    given: dict[str, list[str]] = {}
    for key, value in parse_qsl(query_string.decode(errors="replace"), keep_blank_values=True):
        given.setdefault(key, []).append(value)
    return given


def _bad_range(query: ChartQuery, today: date) -> dict[str, str]:
    """Say what is wrong with a range of two good dates."""
    wrong = {}
    if query.first > today:
        wrong["from_date"] = "in the future"
    elif query.first < FIRST_DATE:
        wrong["from_date"] = f"before {FIRST_DATE}"
    if query.last > today + timedelta(days=FUTURE_DAYS):
        wrong["to_date"] = "too far in the future"
    elif query.last < query.first:
        wrong |= {"from_date": "after to_date", "to_date": "before from_date"}
    elif (query.last - query.first).days > 366 * query.timeframe.max_years:
        wrong["to_date"] = f"more than {query.timeframe.max_years} years after from_date"
    return wrong
