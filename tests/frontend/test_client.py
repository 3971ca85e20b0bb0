"""The TypeScript client against the whole stack; its tests without one are Vitest's."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bff_tools.processes import StartError
from bff_tools.stack import Stack, StackOptions
from tests.support.frontend import npm

TOKEN = "token-of-the-tests"


@contextmanager
def remote_control(stack: Stack) -> Iterator[str]:
    """Let tests in another process stop and start parts of the stack: `POST /stop/wsrelay`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            verb, name = self.path.strip("/").split("/")
            status, text = 200, ""
            try:
                if verb == "stop":
                    stack[name].kill()
                else:
                    stack[name].start()
                    stack[name].wait_ready()
            except (KeyError, StartError) as error:
                status, text = 500, str(error)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_client_gets_the_same_from_either_side_of_a_real_stack() -> None:
    npm("--version")
    options = StackOptions(demo_args=["--protocol", "newer"], environment={"proxy": {"BFF_ADMIN_TOKEN": TOKEN}})
    with Stack(options) as stack, remote_control(stack) as control:
        environment = {"BFF_ORIGIN": stack.origin, "BFF_CONTROL": control, "BFF_TOKEN": TOKEN}
        npm("run", "test", "--workspace", "bff-client", environment=environment)
