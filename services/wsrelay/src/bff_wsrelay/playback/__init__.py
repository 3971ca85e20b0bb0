"""Paced replay: a frame log played to each subscriber at its own speed, over WebSocket or Server-Sent Events."""

__all__: list[str] = []
