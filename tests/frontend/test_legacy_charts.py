"""Charts of random instruments by the legacy side of the client equal a slow and obvious computation."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bff_aggregator.backend.bars import Source
from tests.aggregator.charts.test_any_instrument import Instrument, instruments
from tests.aggregator.charts.test_resample import as_dicts, closes_early
from tests.support import chart_reference as reference
from tests.support.frontend import npm

TIMEFRAMES = {Source.MINUTE: ("1M", 1), Source.HOUR: ("1H", 60), Source.DAILY: ("1D", 390)}


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    instrument: Instrument = draw(instruments().filter(lambda drawn: len(drawn.bars) > 0))
    ends = [datetime.fromtimestamp(int(instrument.bars.t[row]), UTC).date() for row in (0, -1)]
    first = ends[0] + timedelta(days=draw(st.integers(0, (ends[1] - ends[0]).days)))
    last = first + timedelta(days=draw(st.integers(0, (ends[1] - first).days)))
    target, rth_only = draw(st.sampled_from([100, 130, 300, 2000])), draw(st.booleans())
    bars = [{**bar, "v": None if bar["v"] != bar["v"] else bar["v"]} for bar in as_dicts(instrument.bars)]
    timeframe, finest = TIMEFRAMES[instrument.source]
    asked = reference.Asked(first, last, target, finest, rth_only)
    daily, minutes = instrument.source is Source.DAILY, instrument.source.minutes
    made, stride = reference.chart(bars, asked, minutes=minutes, daily=daily, early=closes_early)
    columns = {key: [bar[key] for bar in made] for key in "ohlcv"}
    stamps = [int(datetime.fromisoformat(bar["t"]).timestamp()) for bar in made]
    query: dict[str, Any] = {"symbol": "X", "timeframe": timeframe, "from": f"{first}", "to": f"{last}"}
    query |= {"targetPoints": target, "rthOnly": rth_only}
    return {"bars": bars, "query": query, "stride": stride, "columns": {"t": stamps, **columns}}


@settings(max_examples=1, phases=[Phase.generate])
@given(st.lists(cases(), min_size=12, max_size=12))
def test_chart_is_that_of_the_reference(drawn: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cases.json"
        file.write_bytes(orjson.dumps(drawn))
        where = ("run", "test", "-w", "bff-client", "--", "tests/unit/legacy/reference")
        output = npm(*where, environment={"CHART_CASES": str(file)})
    assert "12 passed" in output
