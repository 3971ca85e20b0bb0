"""Who may connect, how many at once, and how connections are drained at the end of the process."""

__all__: list[str] = []
