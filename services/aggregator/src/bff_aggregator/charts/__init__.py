"""OHLCV bars of a symbol for a window of dates, out of cached chunks, resampled to fit a chart."""
