"""Starts the whole stack on one machine: data store, backend, services and nginx as child processes."""

__all__: list[str] = []
