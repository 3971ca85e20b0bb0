"""What the failure of a call says of access. Pure."""

from enum import Enum


class Refusal(Enum):
    """What an exception says of access."""

    CREDENTIAL = "credential"
    """The backend does not know the credential (401)."""
    RESOURCE = "resource"
    """The credential may not read this resource (403), or there is none for it (404)."""
    NOTHING = "nothing"
    """The backend, or this process, could not answer; a verdict may be stretched."""
