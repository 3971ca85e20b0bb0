"""Cross-origin reads for the configured browser origins (Fetch standard, CORS protocol), by Starlette's middleware.

Without `BFF_ALLOWED_ORIGINS` nothing is added and a preflight passes like any other OPTIONS. With `*` anybody may read,
but never with credentials: a cookie must not serve a page of another site.
"""

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from bff_shared.http.origins import expression
from bff_shared.settings import Settings

EXPOSED = ("X-Request-ID", "X-Correlation-ID", "ETag", "Cache-Status", "Server-Timing", "Retry-After", "Location")
PREFLIGHT_SECONDS = 600


def cors(app: ASGIApp, settings: Settings) -> ASGIApp:
    """Return the app so that pages of the configured origins may read its responses, or as it is without any."""
    allowed = settings.allowed_origins
    if not allowed:
        return app
    return CORSMiddleware(
        app,
        allow_origin_regex=f"(?i:{expression(allowed)})",
        allow_methods=["*"],
        allow_headers=["*"],
        allow_credentials="*" not in allowed,
        expose_headers=EXPOSED,
        max_age=PREFLIGHT_SECONDS,
    )
