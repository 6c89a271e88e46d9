"""A process' numbers over HTTP, on loopback, for Prometheus and `luxe status`. They never stop the process they are of."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from socket import AddressFamily
from socketserver import TCPServer, ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from connectors.metrics.catalogue import SCRAPE_FAULTS
from connectors.metrics.counting import Counts, Source
from connectors.metrics.targets import Target, announce, last_port
from connectors.settings import Settings

log = logging.getLogger(__name__)


class Sources(Collector):
    """What Prometheus' library asks: each source in turn; one that cannot be read is left out, and counted."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._faults = Counts(SCRAPE_FAULTS)

    def collect(self) -> Iterator[Family]:
        """Every metric as it stands."""
        for source in self._sources:
            try:
                yield source.family()
            except Exception as error:  # noqa: BLE001 - whatever one reading meets, the others are still asked for
                log.debug("%s could not be read: %s", source.metric.name, type(error).__name__)
                self._faults.add(source.metric.name)
        yield self._faults.family()


def registry_of(sources: Sequence[Source]) -> CollectorRegistry:
    """The sources, and what Prometheus' library knows of the process itself: memory, processor time, open files, its start."""
    registry = CollectorRegistry()
    registry.register(Sources(sources))
    ProcessCollector(registry=registry)
    return registry


@contextlib.contextmanager
def exporting(settings: Settings, service: str, sources: Sequence[Source]) -> Iterator[Target | None]:
    """Serve the sources for as long as the context lasts; None where settings say no, or where nothing can be listened on.

    The port is ``metrics_port``; by default the one that this service had last, or a free one. Which, is told in the state
    directory: see ``targets``. LUXE_SERVICE_NAME, if set, is the name the process was started under.
    """
    service = os.environ.get("LUXE_SERVICE_NAME", service)
    if not settings.metrics:
        yield None
        return
    registry = registry_of(sources)
    wanted = settings.metrics_port or last_port(settings.state_dir, service)
    for port in (wanted, 0) if wanted else (0,):
        try:
            server = _listen(settings.metrics_host, port, registry)
        except OSError as error:
            if port == settings.metrics_port:
                log.warning(
                    "metrics: cannot listen on %s:%d (%s); LUXE_METRICS_PORT names one port for one process",
                    *(settings.metrics_host, port, error.strerror),
                )
            continue
        break
    else:
        yield None
        return
    try:
        with announce(settings.state_dir, service, settings.metrics_host, server.server_port) as target:
            log.info("%s: metrics on http://%s/metrics", service, target.address)
            yield target
    finally:
        # Its thread looks twice a second whether it should end; nobody waits for that.
        threading.Thread(target=_close, args=(server,), name="metrics-close", daemon=True).start()


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a request; none of them holds the process' end up."""

    daemon_threads = True

    def server_bind(self) -> None:
        # Not the library's own: that asks the resolver for our name, and waits as long as a broken one lets it.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class _Handler(WSGIRequestHandler):
    """Says nothing of who asked."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def _listen(host: str, port: int, registry: CollectorRegistry) -> WSGIServer:
    """Serving, in a thread. Raises OSError."""
    family = AddressFamily.AF_INET6 if ":" in host else AddressFamily.AF_INET
    kind = type("_Server", (_Server,), {"address_family": family})
    server: WSGIServer = make_server(host, port, make_wsgi_app(registry), kind, _Handler)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def _close(server: WSGIServer) -> None:
    server.shutdown()
    server.server_close()
