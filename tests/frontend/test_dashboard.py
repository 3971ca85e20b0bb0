"""The page's own tests: time, addresses, windows, candles, figures."""

from tests.support.frontend import npm


def test_page_passes_its_own_tests() -> None:
    npm("run", "test", "--workspace", "bff-dashboard")
