"""docs/backend-contract.md says what the demo backend answers: every sample is asked for."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from bff_demo.server import DemoServer

TEXT = (Path(__file__).parents[2] / "docs/backend-contract.md").read_text()
SAMPLES = re.findall(r"```http\nGET (\S+)\n(\d+)\n(.*)\n```", TEXT)
TRANSCRIPTS = re.findall(r"```ws\n(\S+)\n((?:[><] .*\n)+)```", TEXT)


def cut_like(found: Any, sample: Any) -> Any:
    """What was found, its lists as short as the sample's."""
    if isinstance(found, list) and isinstance(sample, list):
        return [cut_like(one, like) for one, like in zip(found, sample, strict=False)]
    if isinstance(found, dict) and isinstance(sample, dict):
        return {name: cut_like(value, sample.get(name)) for name, value in found.items()}
    return found


def test_the_document_has_samples_of_every_kind() -> None:
    assert len(SAMPLES) == TEXT.count("```http") > 10
    assert len(TRANSCRIPTS) == TEXT.count("```ws") == 2


@pytest.mark.parametrize(("path", "status", "body"), SAMPLES, ids=[path for path, _, _ in SAMPLES])
def test_a_sample_is_what_the_demo_answers(client: httpx.Client, path: str, status: str, body: str) -> None:
    response, sample = client.get(path), json.loads(body)
    assert (response.status_code, cut_like(response.json(), sample)) == (int(status), sample)


@pytest.mark.parametrize(("path", "lines"), TRANSCRIPTS, ids=[path for path, _ in TRANSCRIPTS])
async def test_a_transcript_is_what_the_demo_says(demo: DemoServer, path: str, lines: str) -> None:
    async with asyncio.timeout(20), connect(f"{demo.ws_url}{path}", close_timeout=0.05) as socket:
        for line in lines.splitlines():
            if line.startswith(">"):
                await socket.send(line[2:])
            else:
                while (message := await socket.recv(decode=True)) == '{"t": "hb"}':
                    pass
                assert message == line[2:]


def test_every_request_that_the_demo_answers_is_listed_and_none_besides(client: httpx.Client) -> None:
    listed = set(re.findall(r"^\| `(?:GET|POST) (/\S+)` \|", TEXT, re.MULTILINE))
    served = set(client.get("/openapi.json").json()["paths"]) | {"/backtests/{run_id}/ws"}
    assert listed == served
