from collections.abc import Iterator

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from bff_demo.auth import Forbidden, Unauthorized, check_owner, identify
from bff_demo.options import Options
from bff_demo.server import DemoServer

TOKENS = {"alice": "tokA", "bob": "tokB"}


def bearer(user: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[user]}"}


@pytest.fixture(scope="module")
def guarded() -> Iterator[DemoServer]:
    with DemoServer(Options(tokens=TOKENS)) as demo:
        yield demo


@pytest.fixture(scope="module")
def client(guarded: DemoServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=guarded.url, timeout=20) as client:
        yield client


def runs_of(client: httpx.Client, user: str) -> list[str]:
    answer = client.get("/backtests", params={"limit": 500}, headers=bearer(user)).json()
    return [item["run_id"] for item in answer["items"]]


@pytest.mark.parametrize(
    ("authorization", "cookies", "user"),
    [("Bearer tokA", {}, "alice"), ("bearer  tokB", {}, "bob"), (None, {"token": "tokB"}, "bob")],
)
def test_token_names_its_user(authorization: str | None, cookies: dict[str, str], user: str) -> None:
    assert identify(TOKENS, authorization, cookies) == user


@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer tokC", "Basic tokA", "tokA", "Bearer töken"])
def test_anything_else_is_unauthorized(authorization: str | None) -> None:
    with pytest.raises(Unauthorized):
        identify(TOKENS, authorization, {})


def test_without_tokens_everybody_owns_everything() -> None:
    assert identify({}, "Bearer whatever", {}) == ""
    check_owner("", "")
    with pytest.raises(Forbidden):
        check_owner("alice", "bob")


@pytest.mark.parametrize("path", ["/backtests", "/backtests/nope", "/bars/daily?symbol=AAPL", "/backtests/x/stream"])
def test_no_token_is_401(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()) == (401, {"detail": "Not authenticated"})
    assert answer.headers["www-authenticate"] == "Bearer"


def test_healthz_stays_open(client: httpx.Client) -> None:
    assert client.get("/healthz").status_code == 200


def test_runs_are_shared_out_and_listed_to_their_owners(client: httpx.Client) -> None:
    alice, bob = runs_of(client, "alice"), runs_of(client, "bob")
    assert (len(alice), len(bob), len({*alice, *bob})) == (12, 11, 23)


def test_run_of_somebody_else_is_403(client: httpx.Client) -> None:
    run = runs_of(client, "alice")[0]
    for part in ("", "/metrics", "/equity", "/orders", "/stream"):
        answer = client.get(f"/backtests/{run}{part}", headers=bearer("bob"))
        assert (answer.status_code, answer.json()) == (403, {"detail": "Forbidden"})
    assert client.get(f"/backtests/{run}", headers=bearer("alice")).status_code == 200
    assert client.get(f"/backtests/{run}", headers={"Cookie": "token=tokA"}).status_code == 200


def test_unknown_run_is_404_for_anybody_known(client: httpx.Client) -> None:
    assert client.get("/backtests/nope", headers=bearer("bob")).status_code == 404


def test_same_inputs_of_two_users_are_two_runs(client: httpx.Client) -> None:
    body = {"strategy_id": "s", "params": {}, "symbol": "SPY", "year": 2024}
    posted = [client.post("/backtests", json=body, headers=bearer(user)) for user in TOKENS]
    assert [answer.status_code for answer in posted] == [202, 202]
    assert posted[0].json()["run_id"] != posted[1].json()["run_id"]


HANDSHAKES = [({}, 401), (bearer("bob"), 403)]


@pytest.mark.parametrize(("headers", "status"), HANDSHAKES)
async def test_handshake_is_refused_with_the_status(
    guarded: DemoServer, client: httpx.Client, headers: dict[str, str], status: int
) -> None:
    run = runs_of(client, "alice")[0]
    with pytest.raises(InvalidStatus) as caught:
        await connect(f"{guarded.ws_url}/backtests/{run}/ws", additional_headers=headers)
    assert caught.value.response.status_code == status


async def test_handshake_of_the_owner_is_accepted(guarded: DemoServer, client: httpx.Client) -> None:
    run = runs_of(client, "alice")[0]
    async with connect(f"{guarded.ws_url}/backtests/{run}/ws", additional_headers=bearer("alice")) as socket:
        await socket.send("?")
        assert "VALIDATION" in str(await socket.recv())
