"""RFC 6455 at both ends: the server for clients, the client for the backend. Knows nothing of runs."""

__all__: list[str] = []
