"""Feature flags: definitions, overrides, evaluation, the routes, and the sync between proxies through Redis."""
