"""One run at the backend, asked with one set of credentials: its detail, where it ends, its stream. I/O."""

import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

from bff_shared import foreign_json
from bff_shared.errors import BackendUnavailable, Busy, UpstreamError
from bff_shared.http.context import upstream_headers
from bff_shared.http.headers import Header
from bff_shared.upstream.client import MAX_BODY, BackendResponse, Call, Upstream, credentials_and_ids
from bff_wsrelay.framelog.failures import REFUSED_STATUSES, failure_of_status
from bff_wsrelay.framelog.run_info import RunDetail, bars_window, date_of, last_stamp
from bff_wsrelay.websocket.client import UpstreamClosed, UpstreamConnection
from bff_wsrelay.websocket.close_codes import RESTART, TRY_AGAIN_LATER
from bff_wsrelay.websocket.connector import Connector, HandshakeRefused, Unreachable

MAX_DETAIL = 1 << 20
"""Bytes of a run's detail."""
EQUITY_SECONDS = 10.0
BARS_SECONDS = 10.0
MAX_BARS = 1 << 20
"""Bytes of two weeks of hours, or of two days of minutes, many times over."""
_READY = '{"t":"ready"}'
_PLAY = '{"t":"ctrl","cmd":"play"}'


def is_broken_off(error: Exception) -> bool:
    """Return whether the backend ended a stream without a word on when to come back."""
    return isinstance(error, UpstreamClosed) and error.end.code not in {RESTART, TRY_AGAIN_LATER}


class RunClient:
    """Asks the backend about one run. Keeps the credentials in memory only, and nothing else between calls."""

    def __init__(self, run_id: str, credentials: Sequence[Header], upstream: Upstream, connector: Connector) -> None:
        self._credentials = list(credentials)
        self._upstream, self._connector = upstream, connector
        self._path = f"/backtests/{quote(run_id, safe='')}"

    async def fetch_detail(self, seconds: float) -> Any:
        """Return the run's detail as JSON values, None where the response holds none; waits `seconds` at most.

        Raises:
            Failure: the backend refuses the credentials or the user, or there is no such run.
            UpstreamError: the backend cannot be asked now.
            Busy: this process has no room for the question.
        """
        response = await self._get(self._path, seconds, MAX_DETAIL)
        if response.status in REFUSED_STATUSES:
            raise failure_of_status(response.status)
        if response.status != HTTPStatus.OK:
            raise BackendUnavailable(f"the backend answered {response.status}")
        try:
            return foreign_json.loads(response.content)
        except foreign_json.MalformedJson:
            return None

    async def fetch_equity_end(self) -> int | None:
        """Return the time in µs of the last point of the run's equity, None where it is not known."""
        try:
            response = await self._get(f"{self._path}/equity", EQUITY_SECONDS)
        except (UpstreamError, Busy):
            return None
        return last_stamp(response.content) if response.status == HTTPStatus.OK else None

    async def fetch_bars_end(self, detail: RunDetail) -> int | None:
        """Return the start in µs of the last minute that the run can have a frame of, None where it is not known.

        The hours of the days before `run_to` name the last day with bars, whatever calendar the instrument keeps.
        """
        window = bars_window(detail)
        if window is None or detail.symbol is None:
            return None
        hour = await self._fetch_last_bar("hour", detail.symbol, *window)
        return await self._fetch_last_bar("minute", detail.symbol, date_of(hour), window[1]) if hour else None

    async def _fetch_last_bar(self, kind: str, symbol: str, first: str, last: str) -> int | None:
        query = urlencode({"symbol": symbol, "from": first, "to": last, "rth_only": "true"})
        try:
            response = await self._get(f"/bars/{kind}?{query}", BARS_SECONDS, MAX_BARS)
        except (UpstreamError, Busy):
            return None
        return last_stamp(response.content) if response.status == HTTPStatus.OK else None

    async def open_stream(self) -> UpstreamConnection:
        """Return a connection on which `ready` and `play` were sent; the caller aborts its transport.

        Raises:
            Failure: the backend refuses the credentials or the user, or there is no such run.
            Unreachable: the backend cannot be reached now, or refuses for another reason.
            UpstreamClosed: the connection ended at once.
        """
        headers = [*self._credentials, *upstream_headers()]
        try:
            connection = await self._connector.connect(f"{self._path}/ws", headers)
        except HandshakeRefused as refused:
            if refused.status in REFUSED_STATUSES:
                raise failure_of_status(refused.status) from refused
            raise Unreachable("the backend refused the handshake") from refused
        try:
            await connection.transmit(_READY)
            await connection.transmit(_PLAY)
        except BaseException:
            connection.transport.abort()
            raise
        return connection

    async def _get(self, path: str, seconds: float, limit: int = MAX_BODY) -> BackendResponse:
        headers = credentials_and_ids(self._credentials)
        return await self._upstream.fetch(
            Call("GET", path.encode(), headers, deadline=time.monotonic() + seconds), limit
        )
