"""The whole stack as one object: `with Stack(StackOptions()) as stack: … stack.origin …`."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from bff_tools import nginx, origin, servers
from bff_tools.guard import Guard
from bff_tools.ports import free_ports, is_free, release_ports
from bff_tools.probes import Probe, http_probe, redis_probe
from bff_tools.processes import Child, StartError

SERVICES = ("proxy", "aggregator", "wsrelay")


@dataclass(frozen=True)
class StackOptions:
    """What to start and how.

    Attributes:
        origin_port: where nginx listens on `origin_host`; None takes a free port.
        backend_url: an existing backend to stand in front of; None starts the demo backend.
        demo_args: further arguments of the demo backend, such as `--faults`.
        environment: further environment by the name of a service, of one of its processes (`proxy-2`), `backend`, or
            `*` for the three services.
        replicas: how many processes of a service to start, by its name; one where it is not named.
        upstreams: `host:port` addresses by the name of a service that is not started but running elsewhere.
        redis: whether a Redis-protocol server is started for the services.
        through: what stands in the way to a process, by its name: takes the port that it listens on, and returns the
            port to reach it at. Lets tests put faults between any two processes.
        route_map: values of the route map's template by name, such as `NGINX_READ_TIMEOUT`, instead of its usual ones.
        page: the folder served at `/`; None takes the built page, and without one `/` is not found.
        frontend: the folder of another single-page application, served at `/` in the page's place, and for its routes.
        frontend_csp: the content security policy of what is served at `/`; empty for the usual one, `off` for none.
        run_dir: where logs and nginx's files go; None makes a temporary folder that `stop` removes.
        ready_timeout: seconds that everything together may take until it answers.
    """

    origin_port: int | None = None
    origin_host: str = "127.0.0.1"
    backend_url: str | None = None
    demo_args: Sequence[str] = ()
    environment: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    replicas: Mapping[str, int] = field(default_factory=dict)
    upstreams: Mapping[str, Sequence[str]] = field(default_factory=dict)
    redis: bool = True
    through: Mapping[str, Callable[[int], int]] = field(default_factory=dict)
    route_map: Mapping[str, str] = field(default_factory=dict)
    page: Path | None = None
    frontend: Path | None = None
    frontend_csp: str = ""
    run_dir: Path | None = None
    ready_timeout: float = 60.0


class Stack:
    """Owns every process of one running stack.

    `stack["backend"]` is a Child by its name: `redis`, `backend`, `proxy`, `aggregator`, `wsrelay`, `nginx`, and
    `proxy-2` and so on where there are replicas. After `start`, `origin` is the URL to use and `backend_url` that of
    the backend behind it.
    """

    def __init__(self, options: StackOptions | None = None, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Take what to start, and a question that ends the wait for its answers early."""
        self.options = options or StackOptions()
        self.children: dict[str, Child] = {}
        self.origin_port = 0
        self.backend_url = ""
        self.redis_url = ""
        self._cancelled = cancelled
        self.notes: list[str] = []
        """What a user should know about how this stack was put together, one line each."""
        self._ports: list[int] = []
        self._guard: Guard | None = None
        self._folder: Path | None = None

    def __getitem__(self, name: str) -> Child:
        """Return a process by its name."""
        return self.children[name]

    def __iter__(self) -> Iterator[Child]:
        """Go through the processes in the order in which they are started."""
        return iter(self.children.values())

    def __enter__(self) -> Self:
        """Start everything; raises StartError."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything."""
        self.stop()

    @property
    def origin(self) -> str:
        """The URL of nginx, without a slash at its end."""
        return f"http://{self.options.origin_host}:{self.origin_port}"

    @property
    def folder(self) -> Path:
        """Where logs (`NAME.log`) and nginx's files are."""
        if self._folder is None:
            raise StartError("the stack was not started")
        return self._folder

    def start(self) -> None:
        """Start everything and wait until all of it answers.

        Raises:
            StartError: the port is taken, or a part does not come up; nothing is left running then.
        """
        wanted = self.options.origin_port
        if wanted is not None and not is_free(wanted, self.options.origin_host):
            raise StartError(f"port {wanted} is already in use; choose another with ORIGIN_PORT=…")
        try:
            self._start(wanted)
        except BaseException:
            self.stop(grace=1.0)
            raise

    def stop(self, grace: float = 10.0) -> None:
        """End every process: nginx first, then the services, then what they use; `grace` seconds for all."""
        until = time.monotonic() + grace
        for group in (("nginx",), tuple(self._services()), ("backend", "redis")):
            children = [self.children[name] for name in group if name in self.children]
            for child in children:
                child.terminate()
            for child in children:
                child.stop(max(0.0, until - time.monotonic()))
        if self._guard:
            self._guard.close()
            self._guard = None
        if self._folder and self.options.run_dir is None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self.children.clear()
        release_ports(self._ports)

    def _start(self, wanted: int | None) -> None:
        until = time.monotonic() + self.options.ready_timeout
        self._folder = self._make_folder()
        self._guard = Guard()
        self._plan(wanted)
        for child in self:
            child.start()
        for child in self:
            child.wait_ready(max(0.1, until - time.monotonic()), self._cancelled)

    def _make_folder(self) -> Path:
        if self.options.run_dir is None:
            return Path(tempfile.mkdtemp(prefix="bff-"))
        self.options.run_dir.mkdir(parents=True, exist_ok=True)
        for old in self.options.run_dir.glob("*.log"):
            old.unlink()
        return self.options.run_dir.resolve()

    def _plan(self, wanted: int | None) -> None:
        """Decide every port and command; nothing runs yet."""
        names = self._services()
        self._ports = free_ports(len(names) + 3)
        ports = iter(self._ports)
        self.origin_port = next(ports) if wanted is None else wanted
        self._plan_redis(next(ports))
        self._plan_backend(next(ports))
        for name, service in names.items():
            self._plan_service(name, service, next(ports))
        self._plan_nginx()

    def _services(self) -> dict[str, str]:
        """Return the service that each process to start belongs to, by the name of the process."""
        own = [service for service in SERVICES if service not in self.options.upstreams]
        counts = {service: self.options.replicas.get(service, 1) for service in own}
        return {
            service if n == 1 else f"{service}-{n}": service for service in own for n in range(1, counts[service] + 1)
        }

    def _plan_redis(self, port: int) -> None:
        program = servers.find_valkey() if self.options.redis else None
        if program is None:
            if self.options.redis:
                self.notes.append("no Redis-protocol server found: every process has a cache of its own")
            return
        self.redis_url = f"redis://127.0.0.1:{self._reached_at('redis', port)}/0"
        settings = {
            "bind": "127.0.0.1", "port": str(port), "save": "", "appendonly": "no", "dir": str(self.folder),
            "loglevel": "warning", "maxmemory": "256mb", "maxmemory-policy": "volatile-lru",
        }  # fmt: skip
        command = [program, *(word for name, value in settings.items() for word in (f"--{name}", value))]
        self._add("redis", command, port, redis_probe(port))

    def _plan_backend(self, port: int) -> None:
        if self.options.backend_url is not None:
            self.backend_url = self.options.backend_url
            return
        self.backend_url = f"http://127.0.0.1:{self._reached_at('backend', port)}"
        command = [
            sys.executable,
            "-m",
            "bff_demo",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            *self.options.demo_args,
        ]
        self._add("backend", command, port, http_probe(port, "/healthz"), self.options.environment.get("backend", {}))

    def _plan_service(self, name: str, service: str, port: int) -> None:
        environment = {
            "BFF_FLAGS_FILE": os.environ.get("BFF_FLAGS_FILE", str(origin.FLAGS)),
            **self.options.environment.get("*", {}),
            **self.options.environment.get(service, {}),
            **self.options.environment.get(name, {}),
            "BFF_HOST": "127.0.0.1",
            "BFF_PORT": str(port),
            "BFF_BACKEND_URL": self.backend_url,
            "BFF_REDIS_URL": self.redis_url,
        }
        self._add(name, [sys.executable, "-m", f"bff_{service}"], port, http_probe(port, "/health/live"), environment)

    def _plan_nginx(self) -> None:
        program = servers.find_nginx()
        routes, main = self.folder / "routes.conf", self.folder / "nginx.conf"
        try:
            values = {**self._route_map(servers.nginx_version(program)).values(), **self.options.route_map}
        except nginx.ConfigurationError as error:
            raise StartError(str(error)) from error
        routes.write_text(nginx.render(origin.TEMPLATE.read_text(), values))
        main.write_text(nginx.main_conf(self.folder, routes, user=origin.worker_user(), files=origin.open_files()))
        command = [program, "-p", f"{self.folder}/", "-e", "stderr", "-c", str(main)]
        self._add(
            "nginx", command, self.origin_port, http_probe(self.origin_port, "/health/live", self.options.origin_host)
        )

    def _route_map(self, version: tuple[int, int, int]) -> nginx.RouteMap:
        backend = nginx.split_backend(self.backend_url)
        lines, resolver = origin.backend_servers(backend, can_resolve=version >= nginx.RESOLVE_SINCE)
        proxy, aggregator, wsrelay = (self._addresses(service) for service in SERVICES)
        return nginx.RouteMap(
            listen=f"{self.options.origin_host}:{self.origin_port}",
            root=self._page(),
            proxy=proxy,
            aggregator=aggregator,
            wsrelay=wsrelay,
            backend=backend,
            backend_servers=lines,
            resolver=resolver,
            backend_tls=origin.certificate_check(backend),
            http2=version >= nginx.HTTP2_SINCE,
            origins=self._allowed_origins(),
            fallback="/index.html" if self.options.frontend else "",
            policy=self.options.frontend_csp,
        )

    def _allowed_origins(self) -> Sequence[str]:
        """Return the browser origins that the services are told."""
        told = self.options.environment.get("*", {}).get(
            "BFF_ALLOWED_ORIGINS", os.environ.get("BFF_ALLOWED_ORIGINS", "")
        )
        return [origin.strip() for origin in told.split(",") if origin.strip()]

    def _addresses(self, service: str) -> Sequence[str]:
        """Return where a service listens, as nginx wants it."""
        if service in self.options.upstreams:
            return self.options.upstreams[service]
        own = [name for name, of in self._services().items() if of == service]
        return [f"127.0.0.1:{self._reached_at(name, self.children[name].port)}" for name in own]

    def _reached_at(self, name: str, port: int) -> int:
        through = self.options.through.get(name)
        return port if through is None else through(port)

    def _page(self) -> Path:
        if self.options.frontend:
            return origin.application(self.options.frontend)
        if self.options.page:
            return self.options.page.resolve()
        page = origin.built_page()
        if page is None:
            self.notes.append("the page is not built: / is not found, everything else works")
            page = self.folder / "page"
            page.mkdir(exist_ok=True)
        return page

    def _add(
        self, name: str, command: Sequence[str], port: int, probe: Probe, environment: Mapping[str, str] | None = None
    ) -> None:
        if self._guard is None:
            raise StartError("the stack was not started")
        self.children[name] = Child(
            name,
            command,
            port=port,
            log=self.folder / f"{name}.log",
            probe=probe,
            guard=self._guard,
            environment={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
            cwd=self.folder,
        )
