"""Write each service's OpenAPI document for the client's types, or check them: `python docs/openapi.py [--check]`."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from fastapi import FastAPI

from bff_aggregator.app import create_app as create_aggregator
from bff_aggregator.settings import AggregatorSettings
from bff_proxy.app import create_app as create_proxy
from bff_proxy.settings import ProxySettings
from bff_wsrelay.app import create_app as create_wsrelay
from bff_wsrelay.settings import RelaySettings

FOLDER = Path(__file__).parent.parent / "frontend/client/openapi"
APPS: dict[str, Callable[[], FastAPI]] = {
    "proxy": lambda: create_proxy(ProxySettings()),
    "aggregator": lambda: create_aggregator(AggregatorSettings()),
    "wsrelay": lambda: create_wsrelay(RelaySettings()),
}


def documents() -> Iterator[tuple[Path, str]]:
    """Yield where each document is, and what it should be; no service is started."""
    for name, make in APPS.items():
        text = json.dumps(make().openapi(), indent=1, sort_keys=True, ensure_ascii=False)
        yield FOLDER / f"{name}.json", f"{text}\n"


def main() -> int:
    """Write the documents; with `--check` only tell whether they are up to date."""
    old = [(path, text) for path, text in documents() if not path.exists() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path, _ in old:
            print(f"{path.name} is out of date; run `make docs`", file=sys.stderr)
        return 1 if old else 0
    FOLDER.mkdir(exist_ok=True)
    for path, text in old:
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
