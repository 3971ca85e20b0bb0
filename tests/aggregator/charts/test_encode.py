import io
import json
from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pytest

from bff_aggregator.backend.bars import Bars
from bff_aggregator.charts.encode import Facts, edition_of, encode
from bff_aggregator.charts.query import ChartQuery, Format
from bff_aggregator.charts.timeframes import Timeframe

FACTS = Facts(3, 3, "1H", False, 1, 0, "cache", True, False, 0, 1.25)


def query(form: Format) -> ChartQuery:
    return ChartQuery("AAPL", Timeframe.MINUTE, date(2024, 1, 2), date(2024, 1, 3), format=form)


def bars(count: int, *, trades: bool = False) -> Bars:
    rng = np.random.default_rng(count)
    t = np.arange(count, dtype=np.int64) * 60 + 1_704_205_800
    prices = rng.random((4, count)) * 200
    volume = rng.integers(0, 10**10, count)
    return Bars(t, prices[0], prices[1], prices[2], prices[3], volume, volume // 3 if trades else None)


def body(asked: ChartQuery, given: Bars) -> bytes:
    return b"".join(encode(asked, given, FACTS).body(FACTS))


@pytest.mark.parametrize("count", [0, 1, 500])
@pytest.mark.parametrize("trades", [True, False])
def test_rows_have_one_object_per_bar(count: int, trades: bool) -> None:
    given = bars(count, trades=trades)
    document = json.loads(body(query(Format.ROWS), given))
    stamps = [datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") for t in given.t.tolist()]
    names = ["timestamp", "open", "high", "low", "close", "volume", *(["trades"] if trades else [])]
    values = [stamps, *(column.tolist() for column in given.columns[1:])]
    assert document["bars"] == [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
    assert document["symbol"] == "AAPL"
    assert document["metadata"] == FACTS.metadata()


@pytest.mark.parametrize("count", [0, 3])
def test_columns_are_what_chart_libraries_and_udf_take(count: int) -> None:
    given = bars(count)
    document = orjson.loads(body(query(Format.COLUMNS), given))
    assert document["s"] == ("ok" if count else "no_data")
    assert {key: document[key] for key in "tohlcv"} == {
        key: column.tolist() for key, column in zip("tohlcv", given.columns, strict=True)
    }
    candles = [
        {"time": t, "open": o, "high": h, "low": low, "close": c}
        for t, o, h, low, c in zip(*(document[key] for key in "tohlc"), strict=True)
    ]
    assert all(isinstance(candle["time"], int) for candle in candles)
    assert [candle["time"] for candle in candles] == sorted({candle["time"] for candle in candles})


@pytest.mark.parametrize("count", [0, 1, 500])
def test_points_are_what_lightweight_charts_takes(count: int) -> None:
    given = bars(count)
    document = json.loads(body(query(Format.POINTS), given))
    t, o, h, low, c, v = (column.tolist() for column in given.columns)
    assert document["candles"] == [
        {"time": time, "open": first, "high": top, "low": bottom, "close": last}
        for time, first, top, bottom, last in zip(t, o, h, low, c, strict=True)
    ]
    assert document["volume"] == [{"time": time, "value": value} for time, value in zip(t, v, strict=True)]
    assert document["metadata"] == FACTS.metadata()


@pytest.mark.parametrize("count", [0, 1, 7, 1001])
@pytest.mark.parametrize("trades", [True, False])
def test_arrow_opens_with_pyarrow_and_polars(count: int, trades: bool) -> None:
    given = bars(count, trades=trades)
    text = body(query(Format.ARROW), given)
    table = pa.ipc.open_stream(text).read_all()
    table.validate(full=True)
    names = ["timestamp", "open", "high", "low", "close", "volume", *(["trades"] if trades else [])]
    assert table.column_names == names
    assert table.schema.field("timestamp").type == pa.timestamp("s", "UTC")
    assert orjson.loads(table.schema.metadata[b"bff"])["metadata"] == FACTS.metadata()
    frame = pl.read_ipc_stream(io.BytesIO(text))
    for name, column in zip(names[1:], given.columns[1:], strict=True):
        assert table[name].to_pylist() == column.tolist()
        assert frame[name].to_list() == column.tolist()
    assert frame["timestamp"].dt.epoch("s").to_list() == given.t.tolist()


def test_arrow_of_rows_that_lie_apart_in_memory_has_their_values() -> None:
    given = bars(10).take(slice(1, None, 3))
    table = pa.ipc.open_stream(body(query(Format.ARROW), given)).read_all()
    assert table["close"].to_pylist() == given.c.tolist()
    assert table["volume"].to_pylist() == given.v.tolist()


def test_digests_are_of_what_is_said_and_of_how_it_was_come_by() -> None:
    cold = Facts(3, 3, "1H", False, 1, 0, "backend", False, False, 1, 99.0)
    one, other = (encode(query(Format.ROWS), bars(3), facts) for facts in (FACTS, cold))
    assert one.content == other.content
    assert edition_of(FACTS) != edition_of(cold)
    assert (one.text, one.content) == (other.text, other.content)
    for different in (encode(query(Format.COLUMNS), bars(3), FACTS), encode(query(Format.ROWS), bars(4), FACTS)):
        assert different.content != one.content


@pytest.mark.parametrize("form", [Format.ROWS, Format.COLUMNS, Format.POINTS])
def test_responses_that_came_about_differently_share_their_large_piece(form: Format) -> None:
    made = encode(query(form), bars(3), FACTS)
    cold = Facts(3, 3, "1H", False, 1, 0, "backend", False, False, 1, 99.0)
    (one, _), (other, told) = made.body(cold.out_of_the_cache()), made.body(cold)
    assert one is other
    assert orjson.loads(other + told)["metadata"] == cold.metadata()
    assert cold.out_of_the_cache().metadata()["cache_hit"] is True


@pytest.mark.parametrize("volumes", [[0.3, None, 2.0], [None, None, None]])
def test_volumes_that_are_fractions_or_missing_are_so_in_every_format(volumes: list[float | None]) -> None:
    v = np.array([np.nan if volume is None else volume for volume in volumes])
    given = replace(bars(3), v=v)
    assert [row["volume"] for row in json.loads(body(query(Format.ROWS), given))["bars"]] == volumes
    assert json.loads(body(query(Format.COLUMNS), given))["v"] == volumes
    points = json.loads(body(query(Format.POINTS), given))
    assert len(points["candles"]) == 3
    present = [(t, volume) for t, volume in zip(given.t.tolist(), volumes, strict=True) if volume is not None]
    assert [(point["time"], point["value"]) for point in points["volume"]] == present
    with pa.ipc.open_stream(body(query(Format.ARROW), given)) as reader:
        table = reader.read_all()
    table.validate(full=True)
    assert table.column("volume").to_pylist() == volumes
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    assert frame["volume"].to_list() == volumes
