"""OpenFeature's own Python SDK, with its OFREP provider, evaluates our flags unchanged."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagEvaluationDetails, Reason

from tests.support.flags import asking, define, flag, percentage

Start = Callable[..., Awaitable[str]]


@pytest.fixture
def sdk() -> Iterator[Callable[[str], OpenFeatureClient]]:
    """Return a function that makes the SDK ask an origin, and returns its client."""
    providers: list[OFREPProvider] = []

    def client(origin: str) -> OpenFeatureClient:
        providers.append(OFREPProvider(origin))
        api.set_provider(providers[-1])
        return api.get_client()

    yield client
    api.clear_providers()
    for provider in providers:
        provider.session.close()


async def ask(client: OpenFeatureClient, key: str, default: bool, who: str = "") -> FlagEvaluationDetails[bool]:
    context = EvaluationContext(who or None, {"plan": "pro"})
    return await asyncio.to_thread(client.get_boolean_details, key, default, context)


async def test_values_variants_and_reasons(start_flags: Start, flags_file: Path, sdk: Any) -> None:
    rules = {"if": [{"==": [{"var": "plan"}, "pro"]}, "on", "off"]}
    define(
        flags_file,
        {"chart_data": flag("off", targeting=percentage(50)), "run_data": flag("off", targeting=rules)},
    )
    origin = await start_flags()
    client = sdk(origin)
    static = await ask(client, "bff", False)
    assert (static.value, static.variant, static.reason) == (True, "on", Reason.STATIC)
    assert static.flag_metadata["source"] == "file"
    matched = await ask(client, "run_data", False)
    assert (matched.value, matched.reason) == (True, Reason.TARGETING_MATCH)
    async with asking(origin) as pages:
        for who in ("ann", "bob", "eve", "joe"):
            found = await ask(client, "chart_data", False, who)
            assert found.reason == Reason.SPLIT
            assert found.value == (await pages.flags(targetingKey=who))["chart_data"]["value"]


async def test_own_default_holds_for_what_is_disabled_or_unknown(
    start_flags: Start, flags_file: Path, sdk: Any
) -> None:
    define(flags_file, {"bff": {**flag(), "state": "DISABLED"}})
    client = sdk(await start_flags())
    for default in (True, False):
        disabled = await ask(client, "bff", default)
        assert (disabled.value, disabled.reason) == (default, Reason.DISABLED)
        unknown = await ask(client, "nope", default)
        assert (unknown.value, unknown.error_code) == (default, ErrorCode.FLAG_NOT_FOUND)


async def test_rules_that_fail_and_wrong_types_are_errors_and_the_default_holds(
    start_flags: Start, flags_file: Path, sdk: Any
) -> None:
    define(flags_file, {"bff": flag(targeting={"if": [{"var": "plan"}, {"var": "plan"}, "off"]})})
    client = sdk(await start_flags())
    failed = await ask(client, "bff", True)
    assert (failed.value, failed.error_code) == (True, ErrorCode.GENERAL)
    wrong = await asyncio.to_thread(client.get_string_details, "run_data", "default")
    assert (wrong.value, wrong.error_code) == ("default", ErrorCode.TYPE_MISMATCH)
