"""The backend's own WebSocket, passed through unchanged and kept open while the backend is away."""

__all__: list[str] = []
