import pytest

from bff_aggregator.backend.bars import Source
from bff_aggregator.charts.resample import Span
from bff_aggregator.charts.timeframes import BY_NAME, Timeframe, unmerged
from bff_shared.trading_sessions import BAR_MINUTES


@pytest.mark.parametrize("timeframe", Timeframe)
def test_bars_of_a_timeframe_are_whole_bars_of_its_source_in_a_size_that_charts_have(timeframe: Timeframe) -> None:
    assert timeframe.minutes in {*BAR_MINUTES, Span.SESSION.value}
    assert timeframe.minutes % timeframe.source.minutes == 0


@pytest.mark.parametrize("source", Source)
def test_every_source_has_a_timeframe_of_its_own_bars(source: Source) -> None:
    assert unmerged(source).source is source
    assert unmerged(source).minutes == source.minutes


def test_minute_is_called_by_its_short_name_in_metadata() -> None:
    assert unmerged(Source.MINUTE) == "1M"


def test_timeframes_are_found_by_the_names_of_the_api() -> None:
    assert BY_NAME["5M"] is Timeframe.FIVE_MINUTES
    assert BY_NAME.keys() == {"1D", "1H", "5M", "1M", "1M_DECIMATED"}
