"""What nginx is told: the route map's template filled in, and the small nginx.conf around it. Pure text."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

FAILING_FOR = "max_fails=1 fail_timeout=1s"
NEVER_LEFT_OUT = "max_fails=0"
"""For relays: one that is full says so with 503, which nginx counts as a failure; the last one's word must pass. And
for the backend, whose failures a client can bring about: an address that fails at one request is asked for the next."""
RESOLVE_SINCE = (1, 27, 3)
"""The version from which nginx follows a name's addresses while it runs."""
HTTP2_SINCE = (1, 25, 1)
"""The version from which one listener speaks HTTP/1.1 and HTTP/2 without TLS."""


ANY_LABELS = "[A-Za-z0-9.-]+"
UNLIMITED = {
    "NGINX_REQUEST_RATE": "1000000r/s",
    **dict.fromkeys(("NGINX_STREAMS_PER_CLIENT", "NGINX_UPLOADS_PER_CLIENT", "NGINX_REQUESTS_PER_CLIENT"), "60000"),
}
"""Values of the route map for a load generator, which is one client address and stands for thousands."""


class ConfigurationError(ValueError):
    """A value cannot be given to nginx; the text names it."""


class BackendAddress(NamedTuple):
    """A backend's URL in parts: `https`, `api.example:8443`, `api.example` and 8443."""

    scheme: str
    authority: str
    host: str
    port: int


def split_backend(url: str) -> BackendAddress:
    """Split an `http` or `https` URL; raise ConfigurationError for anything that nginx could not forward to."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"backend URL {url!r}: {error}") from error
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+", host):
        raise ConfigurationError(f"backend URL {url!r} is not of the form http://host:port")
    if parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConfigurationError(f"backend URL {url!r} has more than scheme, host and port")
    bracketed = f"[{host}]" if ":" in host else host
    authority = bracketed if port is None else f"{bracketed}:{port}"
    default = 443 if parts.scheme == "https" else 80
    return BackendAddress(parts.scheme, authority, host, default if port is None else port)


def authority_pattern(backend: BackendAddress) -> str:
    """Return a regular expression for the authority of the backend's URL; a default port may be left out."""
    host = re.sub(r"[][.]", r"\\\g<0>", backend.authority.removesuffix(f":{backend.port}"))
    port = f":{backend.port}"
    is_default = backend.port == (443 if backend.scheme == "https" else 80)
    return f"{host}(?:{port})?" if is_default else host + port


def trusted_lines(networks: Sequence[str], proxy_protocol: bool = False) -> tuple[str, str]:
    """Return the `real_ip` directives and the `geo` lines for the networks of a balancer in front; none for none.

    One that speaks the PROXY protocol looks at no header, so those that it passes on are the client's own words.
    """
    if not networks:
        return "", ""
    for network in networks:
        if not re.fullmatch(r"[0-9A-Fa-f.:]+(?:/\d{1,3})?", network):
            raise ConfigurationError(f"{network!r} is not a network such as 10.0.0.0/8")
    sources = " ".join(f"set_real_ip_from {network};" for network in networks)
    if proxy_protocol:
        return f"{sources} real_ip_header proxy_protocol;", ""
    real_ip = f"{sources} real_ip_header X-Forwarded-For; real_ip_recursive on;"
    return real_ip, " ".join(f"{network} 1;" for network in networks)


def host_lines(hosts: Sequence[str]) -> str:
    """Return the `map` lines that give 0 for each host that is served; all are served if none is named."""
    for host in hosts:
        if not re.fullmatch(r"(?:\*\.)?[A-Za-z0-9._-]+", host):
            raise ConfigurationError(f"{host!r} is not a host such as app.example or *.app.example")
    return " ".join(["default 1;", *(f"{host} 0;" for host in hosts)]) if hosts else "default 0;"


def origin_lines(origins: Sequence[str]) -> dict[str, str]:
    """Return the template's values for the browser origins whose pages may read nginx's own errors.

    The rules are the services' (`bff_shared/http/origins.py`): `*` stands for labels of a host, alone for any origin,
    and with that nobody's credentials count.
    """
    lines = []
    for origin in origins:
        if not re.fullmatch(r"\*|[A-Za-z][A-Za-z0-9+.-]*://[A-Za-z0-9.*:\[\]_-]+", origin):
            raise ConfigurationError(
                f"{origin!r} is not an origin such as https://app.example or https://*.app.example"
            )
        pattern = re.sub(r"[][.+]", r"\\\g<0>", origin).replace("*", ANY_LABELS)
        lines.append(f'"~*^{".+" if origin == "*" else pattern}$" $http_origin;')
    credentials = "true" if origins and "*" not in origins else ""
    return {"NGINX_ORIGINS": " ".join(lines), "NGINX_ORIGIN_CREDENTIALS": credentials}


def tls_lines(listen: str, certificate: str, key: str) -> str:
    """Return the directives of a TLS listener; nothing without a certificate."""
    if not certificate:
        return ""
    return f"listen {listen} ssl; ssl_certificate {quoted(certificate)}; ssl_certificate_key {quoted(key)};"


def server_lines(addresses: Sequence[str], resolve: bool = False, failing: str = FAILING_FOR) -> str:
    """Return one `server` directive for each `host:port`; `resolve` has names looked up again while nginx runs."""
    if not addresses:
        raise ConfigurationError("an upstream needs at least one server")
    suffix = " resolve" if resolve else ""
    return " ".join(f"server {address} {failing}{suffix};" for address in addresses)


@dataclass(frozen=True)
class RouteMap:
    """Everything the template asks for; addresses are `host:port`, times, rates and sizes in nginx's own notation.

    What one client address may have is what a hundred pages with ten streams each never reach: an office behind one
    address is one client here.
    """

    listen: str
    root: Path
    proxy: Sequence[str]
    aggregator: Sequence[str]
    wsrelay: Sequence[str]
    backend: BackendAddress
    backend_servers: str
    resolver: str = ""
    backend_tls: str = ""
    access_log: str = "/dev/stdout"
    error_level: str = "crit"
    max_body_size: str = "0"
    read_timeout: str = "120s"
    stream_timeout: str = "1h"
    request_rate: str = "1000r/s"
    request_burst: int = 2000
    streams_per_client: int = 3000
    uploads_per_client: int = 200
    requests_per_client: int = 4000
    hsts: str = ""
    proxy_listen: str = ""
    http2: bool = False
    tls: str = ""
    trusted_proxies: Sequence[str] = ()
    hosts: Sequence[str] = ()
    origins: Sequence[str] = ()
    fallback: str = ""
    policy: str = ""

    def values(self) -> dict[str, str]:
        """Return the template's names and their values."""
        real_ip, trusted = trusted_lines(self.trusted_proxies, bool(self.proxy_listen))
        return {
            "NGINX_LISTEN": self.listen,
            "NGINX_ROOT": quoted(str(self.root)),
            "NGINX_FALLBACK": self.fallback,
            "NGINX_CSP": policy_text(self.policy),
            "NGINX_ACCESS_LOG": quoted(self.access_log),
            "NGINX_ERROR_LEVEL": self.error_level,
            "NGINX_MAX_BODY_SIZE": self.max_body_size,
            "NGINX_READ_TIMEOUT": self.read_timeout,
            "NGINX_STREAM_TIMEOUT": self.stream_timeout,
            "NGINX_REQUEST_RATE": self.request_rate,
            "NGINX_REQUEST_BURST": str(self.request_burst),
            "NGINX_STREAMS_PER_CLIENT": str(self.streams_per_client),
            "NGINX_UPLOADS_PER_CLIENT": str(self.uploads_per_client),
            "NGINX_REQUESTS_PER_CLIENT": str(self.requests_per_client),
            "NGINX_HSTS": self.hsts,
            "NGINX_PROXY": f"listen {self.proxy_listen} proxy_protocol;" if self.proxy_listen else "",
            "NGINX_HTTP2": "http2 on;" if self.http2 else "",
            "NGINX_TLS": self.tls,
            "NGINX_REAL_IP": real_ip,
            "NGINX_TRUSTED": trusted,
            "NGINX_HOSTS": host_lines(self.hosts),
            **origin_lines(self.origins),
            "NGINX_RESOLVER": self.resolver,
            "PROXY_SERVERS": server_lines(self.proxy),
            "AGGREGATOR_SERVERS": server_lines(self.aggregator),
            "WSRELAY_SERVERS": server_lines(self.wsrelay, failing=NEVER_LEFT_OUT),
            "BACKEND_SERVERS": self.backend_servers,
            "BACKEND_SCHEME": self.backend.scheme,
            "BACKEND_AUTHORITY": self.backend.authority,
            "BACKEND_HOST": self.backend.host,
            "BACKEND_PATTERN": authority_pattern(self.backend),
            "BACKEND_TLS": self.backend_tls,
        }


def policy_text(policy: str) -> str:
    """Return a content security policy as a part of an nginx word; raise ConfigurationError for what cannot be one."""
    if re.search(r"""[^ -~]|["$\\\\]""", policy):
        raise ConfigurationError(f"FRONTEND_CSP: {policy!r} is not a policy such as default-src 'self'")
    return policy


def quoted(text: str) -> str:
    """Return a path as one nginx word; raise ConfigurationError for what no quoting can carry."""
    if "$" in text or any(ord(character) < 32 for character in text):
        raise ConfigurationError(f"nginx cannot be given the path {text!r}")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def render(template: str, values: Mapping[str, str]) -> str:
    """Fill in each `${NAME}` in capitals, as envsubst does; raise ConfigurationError for a name without value."""

    def fill(match: re.Match[str]) -> str:
        try:
            return values[match[1]]
        except KeyError:
            raise ConfigurationError(f"the route map asks for {match[1]}, which has no value") from None

    return re.sub(r"\$\{([A-Z][A-Z0-9_]*)\}", fill, template)


def main_conf(folder: Path, routes: Path, user: str = "", workers: int = 1, files: int = 1024) -> str:
    """Return an nginx.conf that keeps every file of nginx under `folder` and includes the rendered route map.

    `user` is `name group` when nginx is started as root: its workers would otherwise become `nobody` and not be
    allowed to read a page under a private home. `files` is how many a worker may open; a forwarded connection takes
    two.
    """
    temporary = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "\n".join(f"    {kind}_temp_path {quoted(str(folder / kind))};" for kind in temporary)
    return f"""daemon off;
pid {quoted(str(folder / "nginx.pid"))};
lock_file {quoted(str(folder / "nginx.lock"))};
error_log stderr warn;
worker_processes {workers};
worker_rlimit_nofile {files};
{f"user {user};" if user else ""}
events {{
    worker_connections {files};
}}
http {{
{paths}
    access_log off;
    sendfile on;
    include {quoted(str(routes))};
}}
"""


def parse_version(banner: str) -> tuple[int, int, int]:
    """Return the version in the answer of `nginx -v`; raise ConfigurationError if there is none."""
    if found := re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", banner):
        return int(found[1]), int(found[2]), int(found[3])
    raise ConfigurationError("this nginx does not tell its version")


def resolver_line(resolv_conf: str) -> str:
    """Return a `resolver` directive for the name servers of a resolv.conf(5), or nothing if it names none."""
    servers = re.findall(r"^[ \t]*nameserver[ \t]+([0-9A-Fa-f.:]+)", resolv_conf, re.MULTILINE)
    words = [f"[{server}]" if ":" in server else server for server in servers]
    return f"resolver {' '.join(words)} valid=5s; resolver_timeout 2s;" if words else ""
