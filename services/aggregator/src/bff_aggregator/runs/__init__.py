"""A backtest run with its metrics, equity and orders, and the list of runs."""
