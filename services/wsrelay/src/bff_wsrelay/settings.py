"""The relay's own settings."""

from pydantic import Field

from bff_shared.settings import Settings


class RelaySettings(Settings):
    """What the relay reads besides the common settings."""

    port: int = Field(8103, ge=0, le=65_535, description="port to listen on; 0 takes any free one")
