import json
from datetime import date

import numpy as np
import pytest

from bff_demo.documents import EQUITY_KEYS, bars_body, equity_body, frame_texts, orders_body, timestamps
from bff_demo.market import Bars, Market
from bff_demo.strategy import Result, backtest, drawdowns


@pytest.fixture(scope="module")
def bars(market: Market) -> Bars:
    return market.minutes["TSLA"].window(date(2024, 10, 31), date(2024, 12, 31), rth_only=True)


@pytest.fixture(scope="module")
def result(bars: Bars) -> Result:
    return backtest(bars.c, fast=20, slow=50, quantity=3)


def small() -> Bars:
    column = np.array([3893700, 3864150], dtype=np.int32)
    minute = np.array([28930470, 28930471], dtype=np.int32)
    volume = np.array([1031767, 195494], dtype=np.int64)
    return Bars(minute, column, column + 20000, column - 20000, column + 1, volume, np.ones(2, dtype=bool))


def test_timestamps_are_utc_with_z() -> None:
    assert timestamps(np.array([0, 28930470, 28930470 + 1439], dtype=np.int32)) == [
        "1970-01-01T00:00:00Z",
        "2025-01-02T14:30:00Z",
        "2025-01-03T14:29:00Z",
    ]


def test_bars_are_compact_json() -> None:
    assert bars_body("TSLA", small(), {"stride_minutes": 30, "points": 2}) == (
        b'{"symbol":"TSLA","bars":['
        b'{"t":"2025-01-02T14:30:00Z","o":389.37,"h":391.37,"l":387.37,"c":389.3701,"v":1031767},'
        b'{"t":"2025-01-02T14:31:00Z","o":386.415,"h":388.415,"l":384.415,"c":386.4151,"v":195494}'
        b'],"meta":{"stride_minutes":30,"points":2}}'
    )


def test_long_bodies_are_one_document(bars: Bars) -> None:
    body = json.loads(bars_body("TSLA", bars))
    assert len(body["bars"]) == len(bars) > 8192
    assert [bar["t"] for bar in body["bars"]] == timestamps(bars.minute)
    assert [bar["c"] for bar in body["bars"]] == (bars.c / 10_000).tolist()


def test_frames_are_spelled_like_python_json() -> None:
    result = Result(np.array([1, -1], dtype=np.int8), np.array([100_000.0, 99997.14]))
    (texts,) = frame_texts(small(), result, 1, newer=False)
    assert texts[0] == (
        '{"t": "frame", "ts": "2025-01-02T14:30:00Z", "ohlc": {"o": 389.37, "h": 391.37, "l": 387.37, "c": 389.3701, '
        '"v": 1031767}, "orders": [{"ts_utc": "2025-01-02T14:30:00Z", "side": "BUY", "qty": 1, "price": 389.3701, '
        '"order_id": "o0", "type": "MKT", "time_in_force": "IOC"}], "equity": {"ts": "2025-01-02T14:30:00Z", '
        '"value": 100000.0}, "dropped": 0}'
    )
    assert texts[1] == (
        '{"t": "frame", "ts": "2025-01-02T14:31:00Z", "ohlc": {"o": 386.415, "h": 388.415, "l": 384.415, '
        '"c": 386.4151, "v": 195494}, "orders": [{"ts_utc": "2025-01-02T14:31:00Z", "side": "SELL", "qty": 1, '
        '"price": 386.4151, "order_id": "o1", "type": "MKT", "time_in_force": "IOC"}], '
        '"equity": {"ts": "2025-01-02T14:31:00Z", "value": 99997.14}, "dropped": 0}'
    )
    assert all(json.dumps(json.loads(text)) == text for text in texts)


@pytest.mark.parametrize("newer", [False, True])
def test_frames_tell_the_same_story_as_the_parts(bars: Bars, result: Result, newer: bool) -> None:
    frames = [json.loads(text) for texts in frame_texts(bars, result, 3, newer=newer) for text in texts]
    points = json.loads(equity_body(bars, result, EQUITY_KEYS["ts"], drawdown=False))["equity"]
    assert [frame["equity"] for frame in frames] == points
    orders = json.loads(orders_body(bars, result, "", 3))["orders"]
    named = [(o["order_id"], o["timestamp"], o["side"], o["quantity"], o["price"], o["order_type"]) for o in orders]
    in_frames = [order for frame in frames for order in frame["orders"]]
    assert [(o["order_id"], o["ts_utc"], o["side"], o["qty"], o["price"], o["type"]) for o in in_frames] == named
    candles = json.loads(bars_body("TSLA", bars))["bars"]
    assert [{"t": frame["ts"], **frame["ohlc"]} for frame in frames] == candles
    if newer:
        assert {frame["total_frames"] for frame in frames} == {len(bars)}
        assert frames[-1]["metrics"]["total_return"] == result.equity[-1] / 100_000 - 1
        assert frames[-1]["metrics"]["max_drawdown"] == drawdowns(result.equity).max()
    else:
        assert not {"metrics", "total_frames"} & frames[0].keys()


def test_equity_comes_in_three_shapes(bars: Bars, result: Result) -> None:
    first = {name: json.loads(equity_body(bars, result, keys, drawdown=name == "plain"))["equity"][0]
             for name, keys in EQUITY_KEYS.items()}  # fmt: skip
    ts = "2024-10-31T13:30:00Z"
    assert first == {
        "plain": {"timestamp": ts, "equity": 100_000.0, "drawdown": 0.0},
        "ts": {"ts": ts, "value": 100_000.0},
        "ts_utc": {"ts_utc": ts, "value": 100_000.0},
    }
