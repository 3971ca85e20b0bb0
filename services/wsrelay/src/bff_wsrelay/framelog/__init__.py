"""A run's frames: read from the backend once, kept in a bounded log, shared by all who watch the run."""

__all__: list[str] = []
