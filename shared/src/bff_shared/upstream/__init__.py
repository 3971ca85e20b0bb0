"""The way to the backend: one client with its limits, breaker, retries and deadlines, on a transport of its own."""
