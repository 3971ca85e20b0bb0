"""The proxy's own settings."""

from pydantic import Field

from bff_shared.settings import Prefixes, Settings


class ProxySettings(Settings):
    """What the proxy reads besides the common settings."""

    port: int = Field(8101, ge=0, le=65_535, description="port to listen on; 0 takes any free one")
    proxy_prefixes: Prefixes = Field(
        ("/backtests", "/bars", "/healthz"), description="path prefixes that are forwarded; `/` for all"
    )
    max_body_bytes: int = Field(0, ge=0, description="largest request body that is forwarded; 0: no limit")
