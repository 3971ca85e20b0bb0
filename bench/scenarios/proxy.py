"""Measure the proxy beside direct calls, nginx's proxy_pass and fastapi-proxy-lib: `python -m bench.scenarios.proxy`.

20 kB JSON responses over loopback, one process per part, wrk as the load where there is one; then the proxy's memory
while 1 GB goes through it in each direction, and while ten readers are slow.
"""

import argparse
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.lib.figures import figure
from bench.lib.http_load import Figures, load, medians, show, tool
from bench.lib.processes import serve_app, serving

from bff_tools import Stack, StackOptions
from bff_tools.nginx import UNLIMITED

MODULE = "bench.scenarios.proxy"
GB = 1_000_000_000
PIECE = bytes(64 * 1024)


def peer(base: str) -> Any:
    """Return fastapi-proxy-lib's reverse proxy before a backend."""
    import httpx
    from fastapi_proxy_lib.fastapi.app import reverse_http_app

    return reverse_http_app(client=httpx.AsyncClient(), base_url=f"{base}/")


async def giant(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer a GET with 1 GB, anything else with the number of bytes received."""
    if scope["type"] != "http":
        return
    size = 0
    while (message := await receive())["type"] == "http.request":
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    headers = [(b"content-length", b"%d" % (GB if scope["method"] == "GET" else len(str(size))))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    sent = 0
    while scope["method"] == "GET" and sent < GB:
        part = PIECE[: GB - sent]
        sent += len(part)
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b"" if sent else str(size).encode()})


def serve(role: str, *arguments: str) -> None:
    """Serve one of the apps above on a free port that is printed."""
    serve_app(giant if role == "giant" else peer(*arguments))


def resident(pid: int) -> float:
    """Return a process's resident memory in MB."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


@contextlib.contextmanager
def peak(pid: int) -> Iterator[list[float]]:
    """Yield a list whose only item becomes the largest growth of a process's memory meanwhile, in MB."""
    before, most, over = resident(pid), [0.0], threading.Event()

    def look() -> None:
        while not over.wait(0.02):
            most[0] = max(most[0], resident(pid) - before)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()


def download(port: int, most: int = GB, pause: float = 0.0) -> None:
    """Read so many of an answer's bytes, with a pause between two reads; raise if there are fewer."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"GET /api/v1/backtests HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        size = 0
        while size < most and (data := sock.recv(1 << 18)):
            size += len(data)
            time.sleep(pause)
    if size < most:
        raise RuntimeError(f"the answer ended after {size} bytes")


def upload(port: int) -> None:
    """Send 1 GB; raise if the backend did not count it all."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        head = b"POST /api/v1/backtests HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % GB
        sock.sendall(head)
        sent = 0
        while sent < GB:
            part = PIECE[: GB - sent]
            sock.sendall(part)
            sent += len(part)
        answer = b""
        while data := sock.recv(65536):
            answer += data
    if not answer.endswith(b"1000000000"):
        raise RuntimeError(f"the backend received less: {answer[-40:]!r}")


def speed(seconds: float, rounds: int) -> None:
    """Print the table of latencies and rates, and the ratios that matter."""
    with (
        serving("bench.lib.json_backend") as (base, pid),
        Stack(StackOptions(backend_url=base, redis=False, route_map=UNLIMITED)) as stack,
    ):
        proxy, nginx = stack["proxy"], stack["nginx"]
        ways: dict[str, tuple[str, int]] = {
            "direct": (base, pid),
            "nginx proxy_pass": (stack.origin, nginx.pid or 0),
            "proxy": (f"http://127.0.0.1:{proxy.port}/api/v1", proxy.pid or 0),
            "nginx and proxy": (f"{stack.origin}/api/v1", proxy.pid or 0),
        }
        rows: dict[str, list[Figures]] = {name: [] for name in (*ways, "fastapi-proxy-lib")}
        with serving(MODULE, "--serve", "peer", base) as lib:
            ways["fastapi-proxy-lib"] = lib
            for _ in range(rounds):
                for name, (url, process) in ways.items():
                    rows[name].append(load(url, process, seconds))
    show(f"pass-through, 20 kB, load by {tool()}", rows)
    mid = {name: medians(figures) for name, figures in rows.items()}
    ours = mid["proxy"]
    figure("p50 added by the proxy at c=1", ours.p50 - mid["direct"].p50, "ms", goal=0.5)
    figure("requests/s at c=16", ours.rate, "/s", better="higher", goal=3000)
    figure("p99 at c=16", ours.p99, "ms", goal=50)
    figure("requests/s over fastapi-proxy-lib", ours.rate / mid["fastapi-proxy-lib"].rate, "x", better="higher", goal=5)
    figure("requests/s, share of direct", ours.rate / mid["direct"].rate, "x", better="higher")
    figure("CPU of the proxy per request", ours.cpu, "µs")


def memory() -> None:
    """Print how much the proxy grows while much goes through it."""
    nowhere = {"aggregator": ["127.0.0.1:9"], "wsrelay": ["127.0.0.1:9"]}
    with (
        serving(MODULE, "--serve", "giant") as (base, _),
        Stack(StackOptions(backend_url=base, redis=False, upstreams=nowhere)) as stack,
    ):
        proxy = stack["proxy"]
        pid, port = proxy.pid or 0, proxy.port
        figure("memory, idle", resident(pid), "MB", goal=90)
        for name, run in (("download", download), ("upload", upload)):
            with peak(pid) as grown:
                begun = time.perf_counter()
                run(port)
            rate = 1000 / (time.perf_counter() - begun)
            print(f"  1 GB {name}: {rate:.0f} MB/s")
            figure(f"growth while 1 GB is {name}ed", grown[0], "MB", goal=20)
        with peak(pid) as grown:
            readers = [threading.Thread(target=download, args=(port, 4_000_000, 0.1)) for _ in range(10)]
            for reader in readers:
                reader.start()
            for reader in readers:
                reader.join()
        figure("growth with ten slow readers", grown[0], "MB", goal=20)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(*options.serve)
        return
    speed(options.seconds, options.rounds)
    memory()


if __name__ == "__main__":
    main()
