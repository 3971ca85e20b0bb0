"""A run of market minutes, its chart, and a viewer that draws what a playback with bars says."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from bff_aggregator.backend.bars import Bars
from bff_aggregator.charts.resample import Clock, Size, Span, bucket
from bff_shared.trading_sessions import SESSION, BarSize, stretch_of
from tests.support.runs import Message

SESSIONS = ("2024-07-02", "2024-07-03", "2024-07-05", "2024-11-01", "2024-11-04")
"""An early close among them, and the change to winter time."""


def market_run(days: Sequence[str] = SESSIONS, *, extended: bool = False, seed: int = 1) -> list[Message]:
    """Return the frames of a run over some sessions of New York, minute by minute, with orders and an equity."""
    return frames_at([moment for day in days for moment in _minutes_of(day, extended=extended)], seed)


def night_run(begins: str, hours: Sequence[float], pause: float, seed: int = 1) -> list[Message]:
    """Return the frames of a run that trades for so many hours at a time, with a pause of so many after each."""
    moment = int(datetime.fromisoformat(begins).timestamp())
    moments: list[int] = []
    for length in hours:
        moments += range(moment, moment + int(3600 * length), 60)
        moment += int(3600 * (length + pause))
    return frames_at(moments, seed)


def frames_at(moments: Iterable[int], seed: int) -> list[Message]:
    """Return the frames of a run at some moments in UTC seconds, with orders and an equity."""
    draw = random.Random(seed)  # noqa: S311  test data
    frames, price, equity = [], 20_000, 100_000.0
    for moment in moments:
        ts = f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%dT%H:%M:%SZ}"
        steps = [price := price + draw.randint(-9, 9) for _ in range(4)]
        o, c = steps[0], steps[-1]
        ohlc = {"o": o / 100, "h": max(steps) / 100, "l": min(steps) / 100, "c": c / 100, "v": draw.randrange(10_000)}
        equity = round(equity + draw.uniform(-50, 50), 2)
        orders = [{"ts_utc": ts, "side": "BUY", "qty": 1} for _ in range(draw.choice((0,) * 20 + (1, 2)))]
        point = {"ts": ts, "value": equity}
        frames.append({"t": "frame", "ts": ts, "ohlc": ohlc, "orders": orders, "equity": point, "dropped": 0})
    return frames


def _minutes_of(day: str, *, extended: bool) -> Sequence[int]:
    noon = int(datetime.fromisoformat(f"{day}T17:00:00+00:00").timestamp())
    stretch = stretch_of(noon)
    end = stretch.opened + 390 * 60
    early, late = stretch.opened - 330 * 60, stretch.opened + 630 * 60  # 04:00 and 20:00
    return range(early, late, 60) if extended else range(stretch.opened, min(end, stretch.end), 60)


def chart_of(frames: Iterable[Message], size: BarSize) -> dict[int, Message]:
    """Return the chart's bars of a run by their starts, made by the chart's own code."""
    rows = [(_seconds(frame["ts"]), frame["ohlc"]) for frame in frames]
    columns = [np.array([ohlc[name] for _, ohlc in rows]) for name in "ohlcv"]
    buckets: Size = Span.SESSION if size == SESSION else size
    chart = bucket(Bars(np.array([t for t, _ in rows], np.int64), *columns), buckets, Clock(1))
    made = [column.tolist() for column in (chart.t, chart.o, chart.h, chart.l, chart.c, chart.v)]
    return {row[0]: dict(zip("tohlcv", row, strict=True)) for row in zip(*made, strict=True)}


def _seconds(ts: str) -> int:
    return int(datetime.fromisoformat(ts).timestamp())


@dataclass
class Drawing:
    """What a viewer has drawn: bars by their starts as they were said last, the peak and orders so far."""

    bars: dict[int, Message] = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)
    peak: float | None = None
    orders: int = 0
    equity: float | None = None
    position: Message | None = None
    seq: int = -1
    faults: list[str] = field(default_factory=list)

    def take(self, message: Message) -> None:
        """Draw what a message says."""
        if message["t"] == "position":
            self.bars, self.closed = {}, set()
            self.position, self.seq, self.orders = message, message["seq"], message["orders"]
            self.peak = message["peak"] and message["peak"]["value"]
            if message["bar"] is not None:
                self._draw(message["bar"])
        elif message["t"] == "frame":
            if message["seq"] - message["n"] != self.seq:
                self.faults.append(f"frame {message['seq']} does not follow on {self.seq}")
            self.seq = message["seq"]
            for bar in message["bars"]:
                self._draw(bar)
            self.orders += len(message["orders"])
            self.equity = message["equity"] and message["equity"]["value"]
            self.peak = message["peak"] and message["peak"]["value"]
        elif message["t"] == "end":
            self.closed |= set(self.bars)

    def _draw(self, bar: Message) -> None:
        t = bar["t"]
        if t in self.closed and bar != self.bars[t]:
            self.faults.append(f"bar {t} changed after it was closed")
        self.bars[t] = bar
        if bar["closed"]:
            self.closed.add(t)

    def differences(self, run: Sequence[Message], size: BarSize) -> list[Any]:
        """Return what differs from the run and its chart as far as it was played, and what is missing of it."""
        played, start = run[: self.seq + 1], self.position["seq"] if self.position else -1
        if not played:
            return self.faults
        expected = chart_of(played, size)
        whole = chart_of(run, size)
        first = (
            max(t for t in expected if t <= _seconds(run[max(start, 0)]["ts"])) if size != SESSION else min(self.bars)
        )
        found: list[Any] = list(self.faults)
        for t, bar in expected.items():
            mine = self.bars.get(t)
            if t < first:
                continue
            if mine is None:
                found.append(("missing", t))
            elif {name: mine[name] for name in "tohlcv"} != bar:
                found.append(("differs", mine, bar))
            elif t in self.closed and bar != whole[t]:
                found.append(("closed too early", mine, whole[t]))
            elif t not in self.closed and t != max(expected):
                found.append(("never closed", t))
        found += [("not in the chart", t) for t in self.bars if t not in expected]
        values = [frame["equity"]["value"] for frame in played]
        if self.seq > start:
            found += [] if self.equity == values[-1] else [("equity", self.equity, values[-1])]
        found += [] if self.peak == max(values) else [("peak", self.peak, max(values))]
        orders = sum(len(frame["orders"]) for frame in played)
        return found + ([] if self.orders == orders else [("orders", self.orders, orders)])
