"""What one client address may take of what all share: never all of it, so that nobody else is refused for its sake."""

import pytest

from bff_aggregator.settings import AggregatorSettings
from bff_proxy.settings import ProxySettings
from bff_shared.settings import Settings
from bff_wsrelay.settings import RelaySettings

SHARED = [
    (AggregatorSettings, "response_client_bytes", "response_total_bytes"),
    (ProxySettings, "flag_listeners_per_client", "flag_listeners"),
    (RelaySettings, "stream_max_per_client", "stream_max_connections"),
    (RelaySettings, "stream_client_unfinished_bytes", "stream_unfinished_bytes"),
    (RelaySettings, "log_client_bytes", "log_total_bytes"),
    (RelaySettings, "read_max_per_client", "read_max"),
]


@pytest.mark.parametrize(("kind", "own", "whole"), SHARED, ids=[own for _, own, _ in SHARED])
def test_one_address_can_by_default_not_take_what_is_there_for_all(kind: type[Settings], own: str, whole: str) -> None:
    settings = kind()
    assert getattr(settings, own) <= 0.75 * getattr(settings, whole)


def test_a_hundred_pages_with_ten_streams_have_room_to_reconnect() -> None:
    assert RelaySettings().stream_max_per_client >= 2 * 100 * 10
