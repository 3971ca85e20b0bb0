"""The timeframes of charts: one row each. Pure.

A new one is a row here, one in the client (`legacy/charts.ts`) and one in the page (`lib/timeframes.ts`). Parameters,
limits, sources, OpenAPI and the client's types (`make docs`) follow from the row; a length of bars that none has yet
is one of `BAR_MINUTES` as well, here and in the client.
"""

from enum import StrEnum
from typing import Self

from bff_aggregator.backend.bars import Source


class Timeframe(StrEnum):
    """What a bar of a chart covers: its name in the API, made from which of the backend's bars, and of what length.

    `minutes` are minutes of trading, one of the sizes that `resample` knows (390 are a session); the bars are merged
    from those of `source` where these are shorter. One request may span `max_years`.
    """

    source: Source
    minutes: int
    max_years: int

    def __new__(cls, name: str, source: Source, minutes: int, max_years: int) -> Self:
        """Make a row of the table."""
        row = str.__new__(cls, name)
        row._value_ = name
        row.source, row.minutes, row.max_years = source, minutes, max_years
        return row

    # A minute takes 48 bytes in memory and 84 in the backend's response: ten years are what one request may cost.
    DAY = "1D", Source.DAILY, 390, 50
    HOUR = "1H", Source.HOUR, 60, 30
    FIVE_MINUTES = "5M", Source.MINUTE, 5, 10
    MINUTE = "1M", Source.MINUTE, 1, 10
    # `1M` under the name of the backend's endpoint.
    DECIMATED = "1M_DECIMATED", Source.MINUTE, 1, 10


BY_NAME = {row.value: row for row in Timeframe}


def unmerged(source: Source) -> Timeframe:
    """Return the timeframe whose bars are those of a source as they come."""
    return next(row for row in Timeframe if row.source is source and row.minutes == source.minutes)
