"""RFC 6455 at both ends: the server for clients, the client for the backend. Knows nothing of runs."""

__all__ = ["Message"]

Message = str | bytes
"""A message: text or binary (RFC 6455 section 5.6)."""
