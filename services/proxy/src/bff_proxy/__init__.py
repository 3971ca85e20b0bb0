"""The HTTP proxy: `/api/v1/{path}` is the backend's `/{path}`."""

__all__: list[str] = []
