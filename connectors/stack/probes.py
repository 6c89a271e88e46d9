"""Readiness, asked in each service's own words but without its client library: the supervisor stays small."""

from __future__ import annotations

import http.client
import socket
import struct
from pathlib import Path
from urllib.parse import urlsplit

from connectors.stack.service import Probe

# A probe is one exchange over loopback; a service that needs longer is not ready, and is asked again.
PROBE_TIMEOUT_SECONDS = 1.0

_METADATA_API_KEY = 3
_METADATA_VERSION = 1  # the oldest that lets us ask for no topics at all, and not in the compact encoding


def is_ready(probe: Probe) -> bool:
    """Whether the service answers now. Never raises, never waits longer than PROBE_TIMEOUT_SECONDS per read."""
    try:
        match probe.kind:
            case "file":
                return Path(probe.target).exists()
            case "http":
                return _http_answers(probe.target)
            case "kafka":
                return _broker_serves(*_host_and_port(probe.target))
            case "postgres":
                return _postgres_accepts(*_host_and_port(probe.target))
    except (OSError, http.client.HTTPException, struct.error):
        return False


def _host_and_port(target: str) -> tuple[str, int]:
    host, _, port = target.rpartition(":")
    return host, int(port)


def _receive(connection: socket.socket, size_bytes: int) -> bytes:
    """Exactly ``size_bytes``; a closed connection raises ConnectionError."""
    received = b""
    while len(received) < size_bytes:
        part = connection.recv(size_bytes - len(received))
        if not part:
            raise ConnectionError("closed")
        received += part
    return received


def _http_answers(url: str) -> bool:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=PROBE_TIMEOUT_SECONDS)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status == http.HTTPStatus.OK
    finally:
        connection.close()


def _broker_serves(host: str, port: int) -> bool:
    """A broker lists itself in its metadata only once the controller has let it serve."""
    client_id = b"luxe-probe"
    header = struct.pack(">hhih", _METADATA_API_KEY, _METADATA_VERSION, 1, len(client_id)) + client_id
    request = header + struct.pack(">i", 0)  # an empty list of topics
    with socket.create_connection((host, port), timeout=PROBE_TIMEOUT_SECONDS) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        _size, _correlation, brokers = struct.unpack(">iii", _receive(connection, 12))
        return bool(brokers >= 1)


def _postgres_accepts(host: str, port: int) -> bool:
    """A server that is starting up, recovering or stopping answers a login with an error; a ready one asks who we are."""
    parameters = b"user\0luxe\0database\0luxe\0\0"
    with socket.create_connection((host, port), timeout=PROBE_TIMEOUT_SECONDS) as connection:
        connection.sendall(struct.pack(">ii", 8 + len(parameters), 3 << 16) + parameters)
        kind, size_bytes = struct.unpack(">ci", _receive(connection, 5))
        # To the end: with bytes left unread the connection would be reset, and the server log each probe.
        _receive(connection, size_bytes - 4)
        return bool(kind == b"R")
