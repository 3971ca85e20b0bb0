"""A demo backend that serves the real contract, quirks included, on generated data."""

__all__: list[str] = []
