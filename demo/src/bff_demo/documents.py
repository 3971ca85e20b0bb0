"""The JSON texts of bars, equity, orders and frames, spelled as the backend spells them. Pure.

REST bodies are compact; frames carry the spaces of Python's `json.dumps`. Bodies are made in slices, so the many small
objects behind a year of minutes never exist at once.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from bff_demo.bars import Bars
from bff_demo.sessions import MINUTES_PER_DAY
from bff_demo.strategy import Result, drawdowns

__all__ = ["EQUITY_KEYS", "bars_body", "equity_body", "frame_texts", "orders_body", "timestamps"]

EQUITY_KEYS = {"plain": ("timestamp", "equity"), "ts": ("ts", "value"), "ts_utc": ("ts_utc", "value")}
_SLICE = 8192


def timestamps(minute: NDArray[np.int32]) -> list[str]:
    """Write minutes since the epoch as `2025-01-02T14:31:00Z`."""
    days, which = np.unique(minute // MINUTES_PER_DAY, return_inverse=True)
    dates = np.datetime_as_string(days.astype("M8[D]")).tolist()
    times = [f"T{clock // 60:02d}:{clock % 60:02d}:00Z" for clock in range(MINUTES_PER_DAY)]
    clocks = (minute % MINUTES_PER_DAY).tolist()
    return [dates[day] + times[clock] for day, clock in zip(which.tolist(), clocks, strict=True)]


def bars_body(symbol: str, bars: Bars, meta: dict[str, int] | None = None) -> bytes:
    """Return `{"symbol","bars":[{t,o,h,l,c,v[,n]}][,"meta"]}`."""
    tail = b"]}" if meta is None else b'],"meta":' + orjson.dumps(meta) + b"}"
    return b'{"symbol":' + orjson.dumps(symbol) + b',"bars":[' + _joined(len(bars), lambda s: _bar_rows(bars, s)) + tail


def _bar_rows(bars: Bars, rows: slice) -> list[dict[str, Any]]:
    part = bars.take(rows)
    names = ("t", "o", "h", "l", "c", "v") + (() if part.n is None else ("n",))
    prices = (column.tolist() for column in part.prices())
    counts = [part.volumes()] if part.n is None else [part.volumes(), part.n.tolist()]
    return [dict(zip(names, row, strict=True)) for row in zip(timestamps(part.minute), *prices, *counts, strict=True)]


def equity_body(bars: Bars, result: Result, keys: tuple[str, str], *, drawdown: bool) -> bytes:
    """Return `{"equity":[...]}`, one point per bar, under the two names of `keys`."""
    when, value = keys
    losses = drawdowns(result.equity) if drawdown else None

    def rows(part: slice) -> list[dict[str, Any]]:
        pairs = zip(timestamps(bars.minute[part]), result.equity[part].tolist(), strict=True)
        if losses is None:
            return [{when: ts, value: equity} for ts, equity in pairs]
        return [
            {when: ts, value: equity, "drawdown": loss}
            for (ts, equity), loss in zip(pairs, losses[part].tolist(), strict=True)
        ]

    return b'{"equity":[' + _joined(len(bars), rows) + b"]}"


def orders_body(bars: Bars, result: Result, symbol: str, quantity: float) -> bytes:
    """Return `{"orders":[...]}`: one filled market order per change of position, numbered by its bar."""
    indexes = np.flatnonzero(result.side)
    traded = bars.take(indexes)
    rows = zip(
        indexes.tolist(),
        timestamps(traded.minute),
        result.side[indexes].tolist(),
        (traded.c / traded.ticks).tolist(),
        strict=True,
    )
    orders = [
        {
            "order_id": f"o{index}",
            "timestamp": ts,
            "symbol": symbol,
            "side": "BUY" if side > 0 else "SELL",
            "quantity": quantity,
            "price": price,
            "order_type": "MKT",
            "status": "FILLED",
            "commission": None,
        }
        for index, ts, side, price in rows
    ]
    return orjson.dumps({"orders": orders})


def frame_texts(
    bars: Bars,
    result: Result,
    quantity: float,
    *,
    newer: bool,
    traded: NDArray[np.bool_] | None = None,
    size: int = 256,
) -> Iterator[list[str]]:
    """Yield the texts of all frames in order, in lists of at most `size`.

    `newer` adds `metrics` (return and deepest drawdown up to the frame) and `total_frames`. The frame of a minute that
    is not `traded` has no candle.
    """
    candles = np.ones(len(bars), np.bool_) if traded is None else traded
    extras = _extras(result) if newer else None
    for start in range(0, len(bars), size):
        rows = slice(start, start + size)
        part = bars.take(rows)
        prices = (column.tolist() for column in part.prices())
        columns = zip(
            range(start, start + len(part)),
            timestamps(part.minute),
            *prices,
            ["null" if volume is None else volume for volume in part.volumes()],
            result.equity[rows].tolist(),
            result.side[rows].tolist(),
            candles[rows].tolist(),
            strict=True,
        )
        texts = [
            f'{{"t": "frame", "ts": "{ts}", "ohlc": {_candle(o, h, low, c, v) if has_candle else "null"}, '
            f'"orders": [{_frame_order(index, ts, side, quantity, c) if side else ""}], '
            f'"equity": {{"ts": "{ts}", "value": {equity!r}}}, "dropped": 0'
            for index, ts, o, h, low, c, v, equity, side, has_candle in columns
        ]
        yield [text + "}" for text in texts] if extras is None else _extended(texts, extras, start)


def _candle(o: float, h: float, low: float, c: float, v: float | str) -> str:
    return f'{{"o": {o!r}, "h": {h!r}, "l": {low!r}, "c": {c!r}, "v": {v}}}'


def _frame_order(index: int, ts: str, side: int, quantity: float, price: float) -> str:
    name = "BUY" if side > 0 else "SELL"
    return (
        f'{{"ts_utc": "{ts}", "side": "{name}", "qty": {quantity}, "price": {price!r}, "order_id": "o{index}", '
        f'"type": "MKT", "time_in_force": "IOC"}}'
    )


def _extras(result: Result) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    gains = result.equity / result.equity[0] - 1
    return gains, np.maximum.accumulate(drawdowns(result.equity)), len(gains)


def _extended(texts: list[str], extras: tuple[NDArray[np.float64], NDArray[np.float64], int], start: int) -> list[str]:
    gains, losses, total = extras
    rows = slice(start, start + len(texts))
    return [
        f'{text}, "metrics": {{"total_return": {gain!r}, "max_drawdown": {loss!r}}}, "total_frames": {total}}}'
        for text, gain, loss in zip(texts, gains[rows].tolist(), losses[rows].tolist(), strict=True)
    ]


def _joined(length: int, rows: Callable[[slice], list[dict[str, Any]]]) -> bytes:
    slices = (slice(start, start + _SLICE) for start in range(0, length, _SLICE))
    return b",".join(orjson.dumps(rows(part))[1:-1] for part in slices)
