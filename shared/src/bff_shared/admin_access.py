"""The check of the admin token as routes use it."""

from starlette.requests import Request

from bff_shared.admin import AdminGate
from bff_shared.limits import client_address


def require_admin(request: Request) -> None:
    """Raise NotFound, Unauthorized or TooManyRequests unless a request carries the service's admin token."""
    service = request.app.state.service
    gate: AdminGate = service.admin
    peer = request.client.host if request.client else None
    client = client_address(request.headers.raw, peer, service.settings.trusted_proxies)
    gate.check(request.headers.get("authorization", ""), client)
