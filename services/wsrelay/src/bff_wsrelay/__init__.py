"""The WebSocket relay: a run played back at a pace, and the backend's own stream passed through."""

__all__: list[str] = []
