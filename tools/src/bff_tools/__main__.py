"""`python -m bff_tools [--port N] [--tls-port N] [--backend-url URL]`: start everything, show its logs, end it all."""

import argparse
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import NoReturn

from bff_tools.console import Console
from bff_tools.keeper import Keeper
from bff_tools.nginx import ConfigurationError, split_backend, tls_lines
from bff_tools.origin import ROOT
from bff_tools.processes import StartError
from bff_tools.stack import Stack, StackOptions

LOOK_EVERY_S = 0.2


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with the command line in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the line and exit with status 2."""
        self.exit(2, f"error: {message}\n")


def port_number(text: str) -> int:
    """Return a TCP port from 1 to 65535; raise ArgumentTypeError for anything else."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"ORIGIN_PORT must be a number from 1 to 65535, not {text!r}")
    return int(text)


def backend_url(text: str) -> str | None:
    """Return the URL without a slash at its end, None for an empty one; raise ArgumentTypeError for a bad one."""
    try:
        if text:
            split_backend(text)
    except ConfigurationError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text.rstrip("/") or None


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(prog="python -m bff_tools", description=__doc__)
    parser.add_argument("--port", type=port_number, default=8080, help="port of the origin (default %(default)s)")
    parser.add_argument("--backend-url", type=backend_url, help="an existing backend; without it the demo is started")
    parser.add_argument(
        "--tls-port",
        type=port_number,
        help="a port for TLS and HTTP/2 as well, with the certificate that `make certificate` has made",
    )
    parser.add_argument(
        "--demo",
        action="append",
        default=[],
        metavar="ARGUMENT",
        help="passed on to the demo backend, as in --demo=--faults",
    )
    return parser.parse_args(arguments)


def options_of(chosen: argparse.Namespace, terminal: bool) -> StackOptions:
    """Return what the command line means."""
    log_format = os.environ.get("BFF_LOG_FORMAT") or ("console" if terminal else "json")
    frontend = os.environ.get("FRONTEND_DIR", "")
    tls = ""
    if chosen.tls_port:
        certificate, key = (ROOT / ".local/tls" / name for name in ("tls.crt", "tls.key"))
        tls = tls_lines(f"127.0.0.1:{chosen.tls_port}", str(certificate), str(key))
    return StackOptions(
        origin_port=chosen.port,
        route_map={"NGINX_TLS": tls} if tls else {},
        frontend=Path(frontend).expanduser() if frontend else None,
        frontend_csp=os.environ.get("FRONTEND_CSP", ""),
        backend_url=chosen.backend_url,
        demo_args=["--access-log", *chosen.demo],
        environment={"*": {"BFF_LOG_FORMAT": log_format}},
        run_dir=ROOT / ".local" / str(chosen.port),
    )


def end_on_signals() -> threading.Event:
    """Return an event that Ctrl-C, SIGTERM or a closed terminal sets."""
    asked = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        asked.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ask)
    return asked


def main(arguments: list[str] | None = None) -> int:
    """Run the stack until it is asked to end; return the exit status."""
    chosen = parse(arguments)
    asked = end_on_signals()
    console = Console(sys.stdout)
    stack = Stack(options_of(chosen, sys.stdout.isatty()), cancelled=asked.is_set)
    try:
        stack.start()
    except StartError as error:
        sys.stderr.write("" if asked.is_set() else f"error: {error}\n")
        return 0 if asked.is_set() else 1
    for note in stack.notes:
        console.say(note)
    secured = f" and https://localhost:{chosen.tls_port}/" if chosen.tls_port else ""
    console.say(f"ready at {stack.origin}/{secured} (Ctrl-C ends it)")
    console.follow((child.name, child.log) for child in stack)
    keeper = Keeper(stack, console.say)
    while not asked.wait(LOOK_EVERY_S):
        keeper.look()
    stack.stop()
    console.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
