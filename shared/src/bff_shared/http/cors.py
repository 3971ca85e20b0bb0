"""Cross-origin reads for the configured browser origins (Fetch standard, CORS protocol), by Starlette's middleware.

Without `BFF_ALLOWED_ORIGINS` nothing is added and a preflight passes like any other OPTIONS. With `*` anybody may read,
but never with credentials: a cookie must not serve a page of another site.
"""

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from bff_shared.http.origins import expression
from bff_shared.settings import Settings

EXPOSED = ("X-Request-ID", "X-Correlation-ID", "ETag", "Cache-Status", "Server-Timing", "Retry-After", "Location")
PREFLIGHT_SECONDS = 600


class Cors:
    """Wraps an app so that pages of the configured origins may read its answers."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        allowed = settings.allowed_origins
        self._app = app
        if allowed:
            self._app = CORSMiddleware(
                app,
                allow_origin_regex=f"(?i:{expression(allowed)})",
                allow_methods=["*"],
                allow_headers=["*"],
                allow_credentials="*" not in allowed,
                expose_headers=EXPOSED,
                max_age=PREFLIGHT_SECONDS,
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        await self._app(scope, receive, send)
