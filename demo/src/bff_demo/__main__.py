"""The command line: `python -m bff_demo --port 8000`.

Once it listens it prints one line on stdout:

demo backend listening on http://127.0.0.1:43211
"""

import argparse
import sys
from collections.abc import Sequence

from bff_demo.app import create_app
from bff_demo.options import Options, parse_tokens
from bff_demo.server import make_server

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    try:
        tokens = parse_tokens(chosen.tokens) if chosen.tokens else {}
    except (OSError, ValueError) as exc:
        parser.error(f"--tokens: {exc}")
    options = Options(
        seed=chosen.seed,
        protocol=chosen.protocol,
        tokens=tokens,
        faults=chosen.faults,
        access_log=chosen.access_log,
        load_delay=chosen.load_delay,
        early_closes=chosen.early_closes,
        part_routes=chosen.part_routes,
        running_seconds=chosen.running_seconds,
    )
    try:
        make_server(create_app(options), chosen.host, chosen.port, announce=True).run()
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    defaults = Options()
    parser = argparse.ArgumentParser(
        prog="python -m bff_demo",
        description="A demo backtesting backend on generated data. Prints one line with its URL once it listens.",
        epilog="With --faults: PUT, GET, DELETE /__faults set, show and end fault rules (one rule, a list, or "
        '{"rules": [...]}; fields in bff_demo.faults.Rule, e.g. {"path_prefix": "/bars", "latency_ms": 500}); '
        "GET, DELETE /__requests show and forget what arrived, headers included.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port; 0 takes a free one (default %(default)s)")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="seed of all data (default %(default)s)")
    parser.add_argument(
        "--protocol",
        choices=("observed", "newer"),
        default=defaults.protocol,
        help="newer: `ready` before `play`, `metrics` and `total_frames` in frames, `end` sent (default %(default)s)",
    )
    parser.add_argument(
        "--tokens",
        metavar="FILE_OR_SPEC",
        help="ask for bearer tokens: alice=tokA,bob=tokB or a file of such lines; they share out the runs",
    )
    parser.add_argument("--faults", action="store_true", help="enable /__faults and /__requests")
    parser.add_argument("--access-log", action="store_true", help="write a line of JSON for each request")
    parser.add_argument(
        "--load-delay",
        type=float,
        default=defaults.load_delay,
        metavar="SECONDS",
        help="how long everything stands still while a run is loaded for streaming (default %(default)s)",
    )
    parser.add_argument(
        "--no-early-closes",
        action="store_false",
        dest="early_closes",
        help="have minutes after early closes, to 16:00, flagged as regular hours",
    )
    parser.add_argument(
        "--no-part-routes",
        action="store_false",
        dest="part_routes",
        help="know no routes for metrics, equity and orders of a run; its streams have them",
    )
    parser.add_argument(
        "--running-seconds",
        type=float,
        default=defaults.running_seconds,
        metavar="SECONDS",
        help="when the running run is done, counted from the start (default %(default)s)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
