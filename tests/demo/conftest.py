from collections.abc import Callable, Iterator

import httpx
import pytest

from bff_demo.catalog import CATALOG, run_id
from bff_demo.market import Market, build_market
from bff_demo.options import Options
from bff_demo.server import DemoServer

SEED = 42


@pytest.fixture(scope="session")
def market() -> Market:
    return build_market(SEED)


@pytest.fixture(scope="session")
def demo() -> Iterator[DemoServer]:
    with DemoServer(Options(seed=SEED, running_seconds=3600)) as server:
        yield server


@pytest.fixture(scope="session")
def client(demo: DemoServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=demo.url, timeout=20) as client:
        yield client


@pytest.fixture(scope="session")
def find_run() -> Callable[..., str]:
    """The id of the one seeded run of a symbol and a window that starts and ends on these dates."""
    ids = {
        (entry.inputs.symbol, str(entry.inputs.first), str(entry.inputs.last)): run_id(SEED, entry.inputs, "")
        for entry in CATALOG
    }
    return lambda *wanted: ids[wanted]
