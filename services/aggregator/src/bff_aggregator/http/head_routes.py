"""HEAD on every route that answers GET, which RFC 9110 section 9.1 asks of every server."""

from fastapi import APIRouter
from fastapi.routing import APIRoute


def answer_head(router: APIRouter) -> None:
    """Let every GET route of a router answer HEAD as well; the server leaves the body out.

    A route of its own for each, so that OpenAPI describes an operation once.
    """
    for route in list(router.routes):
        if isinstance(route, APIRoute) and "GET" in (route.methods or ()):
            path = route.path.removeprefix(router.prefix)
            router.add_api_route(path, route.endpoint, methods=["HEAD"], response_model=None, include_in_schema=False)
