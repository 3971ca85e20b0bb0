"""An equity curve off the wire: read into columns in threads while the rest is still coming. I/O."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import httpx

from bff_aggregator.backend import equity_reader
from bff_aggregator.backend.equity_curve import Curve
from bff_aggregator.backend.equity_reader import Columns, Scanner
from bff_aggregator.backend.schema import Json
from bff_shared.upstream.client import BackendResponse, Call, Upstream

# NumPy lets go of the interpreter while it works, so two pieces are read in less time than one after the other; with
# more threads than that the event loop would have to wait for its turn.
THREADS = 2


class CurveReader:
    """Makes calls for curves; `close` ends its threads."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._threads = ThreadPoolExecutor(THREADS, "curve")

    def close(self) -> None:
        """Begin no more pieces; one that is being read is read to its end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def fetch(self, call: Call) -> tuple[BackendResponse, Json | None]:
        """Make a call; return its answer and, if that is 200, the fields of a Part that the curve gives.

        Raises as `Upstream.fetch` does, and UnexpectedShape. The answer's content is kept only if it is not 200.
        """
        async with self._upstream.reading(call) as response:
            reading = _Reading(self._threads)
            try:
                async for data in response:
                    reading.feed(data)
                if response.status != httpx.codes.OK:
                    return BackendResponse(response.status, response.headers, reading.scanner.text, 0.0), None
                return BackendResponse(response.status, response.headers, b"", 0.0), await reading.end()
            finally:
                reading.cancel()


class _Reading:
    """One curve that is being read."""

    def __init__(self, threads: ThreadPoolExecutor) -> None:
        self.scanner = Scanner()
        self._threads = threads
        self._pieces: list[asyncio.Future[Columns]] = []

    def feed(self, data: bytes) -> None:
        """Take more of the text, and begin to read what is whole."""
        self._begin(self.scanner.feed(data))

    async def end(self) -> Json:
        """Return the fields of a Part once everything is read."""
        loop = asyncio.get_running_loop()
        last = self.scanner.end()
        self._begin(last or [])
        columns = await asyncio.gather(*self._pieces, return_exceptions=True)
        read = [piece for piece in columns if isinstance(piece, Columns)]
        if last is not None and len(read) == len(columns):
            curve, rest = await loop.run_in_executor(self._threads, equity_reader.join, read), Json()
        else:
            curve, rest = await loop.run_in_executor(self._threads, equity_reader.parse_whole, self.scanner.text)
        return fields(curve, rest)

    def cancel(self) -> None:
        """Begin no more pieces."""
        for piece in self._pieces:
            piece.cancel()

    def _begin(self, pieces: list[bytes]) -> None:
        loop = asyncio.get_running_loop()
        self._pieces += [loop.run_in_executor(self._threads, equity_reader.read_piece, piece) for piece in pieces]


def fields(curve: Curve, rest: Json) -> Json:
    """Return the fields of a Part that holds a curve; `rest` is what else the backend said."""
    return {"data": curve, "extra": rest or None, "count": len(curve), "rejected": curve.rejected}
