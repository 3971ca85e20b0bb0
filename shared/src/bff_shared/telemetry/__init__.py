"""What a service tells of itself: log lines, metrics and traces of its requests."""
