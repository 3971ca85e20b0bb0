"""What the three services have in common: one app factory, one backend client, one way to fail."""

__all__: list[str] = []
