"""What nginx needs to know of this machine: its limits, its names and certificates, the page it serves."""

import getpass
import grp
import os
import resource
import socket
import ssl
from pathlib import Path

from bff_tools.nginx import NEVER_LEFT_OUT, BackendAddress, ConfigurationError, resolver_line, server_lines
from bff_tools.nginx import quoted as nginx_word

ROOT = Path(__file__).resolve().parents[3]
TEMPLATE = ROOT / "deploy/nginx/default.conf.template"
DASHBOARD = ROOT / "frontend/dashboard/dist"
FLAGS = ROOT / "deploy/flags/flags.json"
RESOLV_CONF = Path("/etc/resolv.conf")
MOST_FILES = 16_384


def worker_user() -> str:
    """Return `name group` for nginx's workers if this is root, who alone may choose; else nothing."""
    return f"{getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name}" if os.geteuid() == 0 else ""


def open_files() -> int:
    """Return how many files a worker may open: what the machine allows, within reason."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)


def built_page() -> Path | None:
    """Return the folder of the built page, None if it is not built."""
    return DASHBOARD if (DASHBOARD / "index.html").exists() else None


def application(folder: Path) -> Path:
    """Return the folder of another frontend; raise ConfigurationError if there is nothing to serve in it."""
    if not (folder / "index.html").is_file():
        raise ConfigurationError(f"FRONTEND_DIR: {str(folder)!r} holds no index.html")
    return folder.resolve()


def resolvable(host: str) -> bool:
    """Tell whether this machine knows an address of the host now, from DNS or its hosts file."""
    try:
        return bool(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    except (OSError, UnicodeError):
        return False


def backend_servers(backend: BackendAddress, can_resolve: bool) -> tuple[str, str]:
    """Return the backend's `server` directive and the `resolver` directive that it needs.

    nginx refuses to start on a name that it cannot resolve. Such a name is left to be looked up while it runs where
    it can do that, and else takes the place of a server that is down, so that everything but the backend works.
    """
    host = f"[{backend.host}]" if ":" in backend.host else backend.host
    address = f"{host}:{backend.port}"
    if resolvable(backend.host):
        return server_lines([address], failing=NEVER_LEFT_OUT), ""
    resolver = resolver_line(RESOLV_CONF.read_text()) if can_resolve and RESOLV_CONF.exists() else ""
    if resolver:
        return server_lines([address], resolve=True, failing=NEVER_LEFT_OUT), resolver
    return "server 127.0.0.1:1 down;", ""


def certificate_check(backend: BackendAddress) -> str:
    """Return the directives that check the certificate of an https backend against the machine's authorities."""
    authorities = ssl.get_default_verify_paths().cafile
    if backend.scheme != "https" or not authorities:
        return ""
    return f"proxy_ssl_verify on; proxy_ssl_verify_depth 4; proxy_ssl_trusted_certificate {nginx_word(authorities)};"
