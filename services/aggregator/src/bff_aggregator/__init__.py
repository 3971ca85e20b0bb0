"""The aggregator: chart data and complete runs, put together from several backend answers."""

__all__: list[str] = []
