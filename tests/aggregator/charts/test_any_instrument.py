"""Charts of random instruments in random windows equal a slow and obvious computation from all of their bars.

Calendar, gaps, hours, digits and volumes are drawn; chunks are cut as the cache has them. `make fuzz` draws more.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from bff_aggregator.backend.bars import Bars, Source
from bff_aggregator.cache.entry import Entry, FillResult, Lifetime, make_entry
from bff_aggregator.charts import chunk_codec, chunk_plan, material
from bff_aggregator.charts.assembly import assemble
from bff_aggregator.charts.chunk_plan import Chunk
from bff_aggregator.charts.encode import Facts
from bff_aggregator.charts.material import Material, Wanting, Wants
from bff_aggregator.charts.query import ChartQuery, Format
from bff_aggregator.charts.timeframes import Timeframe
from bff_aggregator.http.steps import finish
from tests.aggregator.charts.test_resample import as_dicts, closes_early
from tests.support import chart_reference as reference

TODAY = date(2030, 1, 1)
FIRST = date(2024, 1, 1)
# New York's opening and closing seconds of the day; an evening's session ends on the next one.
HOURS = {
    "regular": (34_200, 57_600),
    "extended": (14_400, 72_000),
    "around the clock": (0, 86_400),
    "overnight": (64_800, 147_600),
    "Tokyo": (72_000, 93_600),
    "London": (10_800, 41_400),
}


@dataclass(frozen=True)
class Instrument:
    """All bars of an instrument, of one source."""

    source: Source
    bars: Bars

    def chunks(self, chunks: list[Chunk]) -> list[tuple[Chunk, Entry]]:
        """Return chunks as the cache has them."""
        values = chunk_codec.split(self.bars, [chunk.bounds for chunk in chunks], 0)
        made = (make_entry(FillResult(value, Lifetime(60.0)), 1.9e9, 0.0, 0.5) for value in values)
        return list(zip(chunks, made, strict=True))


@st.composite
def instruments(draw: st.DrawFn) -> Instrument:
    source = draw(st.sampled_from([Source.MINUTE, Source.HOUR, Source.DAILY]))
    step = {Source.MINUTE: 60, Source.HOUR: 3600, Source.DAILY: 86_400}[source]
    begin, end = HOURS[draw(st.sampled_from(sorted(HOURS)))]
    weekends = draw(st.booleans())
    start = draw(st.sampled_from([date(2024, 3, 4), date(2024, 6, 28), date(2024, 10, 28), date(2024, 12, 16)]))
    days = {Source.MINUTE: 12, Source.HOUR: 90, Source.DAILY: 900}[source]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    t: list[int] = []
    for day in (start + timedelta(days=number) for number in range(days)):
        if not weekends and day.weekday() >= 5:
            continue
        if source is Source.DAILY:
            t.append(int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()))
            continue
        # Hours begin at half past, as the backend's do.
        late = 1800 if source is Source.HOUR and begin % 3600 == 0 else 0
        midnight = int(reference.at(day, 0, 0).timestamp())
        t += [midnight + second for second in range(begin + late, end, step)]
    column = np.unique(np.array(t, np.int64))
    column = column[rng.random(len(column)) < draw(st.sampled_from([0.05, 0.5, 1.0]))]
    digits, scale = draw(st.sampled_from([(2, 100.0), (6, 0.01), (5, 1.1), (0, 60_000.0)]))
    prices = np.round(scale * (1 + rng.normal(0, 0.01, (4, len(column)))), digits)
    volumes = rng.integers(0, 10**6, len(column))
    fractional = draw(st.booleans())
    v = np.round(volumes / 1024, 6) if fractional else volumes
    if fractional and draw(st.booleans()):
        v = np.where(rng.random(len(column)) < 0.5, np.nan, v)
    low = high = prices[0]
    if len(column):
        low, high = prices.min(axis=0), prices.max(axis=0)
    trades = rng.integers(0, 999, len(column)) if source is Source.DAILY else None
    return Instrument(source, Bars(column, prices[0], high, low, prices[1], v, trades))


def charted(query: ChartQuery, instrument: Instrument) -> tuple[dict[str, Any], Facts, Chunk]:
    """Return a chart as the service assembles it, what it tells, and the window of chunks that it took."""
    wants = Wants(instrument.source, material.foreseen(query, instrument.source, TODAY))
    for _ in range(4):
        chunks = chunk_plan.chunks(wants.source, wants.window.first, wants.window.last)
        try:
            encoded, facts = finish(assemble(query, Material(wants, instrument.chunks(chunks)), TODAY, stale=False))
        except Wanting as wanting:
            wants = wanting.wants
        else:
            return orjson.loads(b"".join(encoded.body(facts))), facts, wants.window
    raise AssertionError("more and more is wanted")


def columns(bars: list[dict[str, Any]], key: str) -> list[Any]:
    return [bar[key] for bar in bars]


@settings(max_examples=16)
@given(instruments(), st.integers(0, 1000), st.integers(0, 600), st.sampled_from([100, 130, 300, 2000]), st.booleans())
def test_chart_is_that_of_the_reference(
    instrument: Instrument, start: int, length: int, target: int, rth_only: bool
) -> None:
    if not len(instrument.bars):
        return
    timeframe = {Source.MINUTE: Timeframe.MINUTE, Source.HOUR: Timeframe.HOUR, Source.DAILY: Timeframe.DAY}[
        instrument.source
    ]
    ends = [datetime.fromtimestamp(int(instrument.bars.t[row]), UTC).date() for row in (0, -1)]
    span = (ends[1] - ends[0]).days + 1
    first = ends[0] + timedelta(days=start % span)
    last = first + timedelta(days=length % span)
    query = ChartQuery("X", timeframe, first, last, target, rth_only, Format.COLUMNS)
    document, facts, _ = charted(query, instrument)
    bars = [{**bar, "v": None if bar["v"] != bar["v"] else bar["v"]} for bar in as_dicts(instrument.bars)]
    asked = reference.Asked(first, last, target, timeframe.minutes, rth_only)
    daily, minutes = instrument.source is Source.DAILY, instrument.source.minutes
    expected, stride = reference.chart(bars, asked, minutes=minutes, daily=daily, early=closes_early)
    stamps = [datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for t in document["t"]]
    assert stamps == columns(expected, "t")
    assert [document[key] for key in "ohlc"] == [columns(expected, key) for key in "ohlc"]
    np.testing.assert_allclose(
        np.array(document["v"], np.float64), np.array(columns(expected, "v"), np.float64), rtol=1e-12
    )
    assert (facts.stride, facts.total_bars) == (stride, len(expected))
    assert document["t"] == sorted(set(document["t"]))
    # What is in the cache already, and more of it, makes no difference.
    wide = ChartQuery("X", timeframe, first - timedelta(days=9), last + timedelta(days=9), target, rth_only)
    _, _, window = charted(wide, instrument)
    wants = Wants(instrument.source, Chunk(min(window.first, first), max(window.last, last)))
    given_more = Material(
        wants, instrument.chunks(chunk_plan.chunks(wants.source, wants.window.first, wants.window.last))
    )
    try:
        encoded, facts = finish(assemble(query, given_more, TODAY, stale=False))
    except Wanting:
        return
    assert orjson.loads(b"".join(encoded.body(facts))) == document
