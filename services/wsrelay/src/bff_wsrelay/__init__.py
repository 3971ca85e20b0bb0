"""The WebSocket relay: a transparent door to the backend's stream and a paced playback of it."""

__all__: list[str] = []
