"""Definitions of flags for tests."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bff_proxy.flag_definitions import KEYS

SHIPPED = Path(__file__).parents[2] / "deploy/flags/flags.json"
VARIANTS = {"on": True, "off": False}


def flag(default: str = "on", **more: Any) -> dict[str, Any]:
    """Return one flag of two variants."""
    return {"state": "ENABLED", "variants": VARIANTS, "defaultVariant": default, **more}


def percentage(on: int, off: int | None = None) -> dict[str, Any]:
    """Return targeting that is on for a share of keys."""
    return {"fractional": [["on", on], ["off", 100 - on if off is None else off]]}


def document(flags: Mapping[str, Any] | None = None, **more: Any) -> bytes:
    """Return a file of the four flags, all on but for those given, and what else stands beside them."""
    return json.dumps({"flags": {**{key: flag() for key in KEYS}, **(flags or {})}, **more}).encode()
