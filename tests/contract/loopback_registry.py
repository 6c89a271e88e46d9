"""A Confluent-compatible schema registry for tests: the protocol that readers and `luxe schemas push` speak, on loopback."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from schemas.definitions import subjects
from schemas.registry import FileRegistry

SUBJECT_NOT_FOUND, SCHEMA_NOT_FOUND = 40401, 40403


class LoopbackRegistry:
    """Subjects, versions and ids in memory. ``requests`` counts what was asked; ``failing`` answers 500 to everything.

    ``failing_under``: or only to the paths that begin so. ``not_yet``: ids that it does not say the schemas of.
    """

    def __init__(self) -> None:
        self.subjects: dict[str, list[int]] = {}
        self.texts: dict[int, str] = {}
        self.levels: dict[str, str] = {}
        self.requests: list[tuple[str, str]] = []
        self.failing = False
        self.failing_under: str | None = None
        self.not_yet: set[int] = set()
        self.url = ""

    def load_committed(self) -> None:
        """Hold what the committed directory holds, under the same ids."""
        committed = FileRegistry()
        for of_subject in subjects():
            self.subjects[of_subject] = [line.id for line in committed.lines(of_subject)]
            for schema_id in self.subjects[of_subject]:
                self.texts[schema_id] = json.dumps(committed.schema(schema_id))

    def register(self, of_subject: str, text: str) -> int:
        """Id of a text under a subject; a known text keeps its id."""
        schema_id = next((held for held, known in self.texts.items() if known == text), len(self.texts) + 1001)
        self.texts[schema_id] = text
        versions = self.subjects.setdefault(of_subject, [])
        if schema_id not in versions:
            versions.append(schema_id)
        return schema_id

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Status and body for one request."""
        if self.failing or (self.failing_under is not None and path.startswith(self.failing_under)):
            return 500, {"error_code": 50001, "message": "made to fail"}
        if found := re.fullmatch(r"/schemas/ids/(\d+)", path):
            text = None if int(found[1]) in self.not_yet else self.texts.get(int(found[1]))
            return (200, {"schema": text}) if text else (404, {"error_code": SCHEMA_NOT_FOUND, "message": "no such id"})
        if path == "/subjects":
            return 200, sorted(self.subjects)
        if found := re.fullmatch(r"/config/(.+)", path):
            self.levels[found[1]] = body["compatibility"]
            return 200, body
        if found := re.fullmatch(r"/subjects/(.+?)/versions(?:/(\w+))?", path):
            return self._versions(method, found[1], found[2], body)
        if found := re.fullmatch(r"/subjects/(.+)", path):
            return self._look_up(found[1], body)
        return 404, {"error_code": 404, "message": "no such path"}

    def _versions(self, method: str, of_subject: str, version: str | None, body: Any) -> tuple[int, Any]:
        if method == "POST":
            return 200, {"id": self.register(of_subject, body["schema"])}
        ids = self.subjects.get(of_subject)
        if ids is None:
            return 404, {"error_code": SUBJECT_NOT_FOUND, "message": "no such subject"}
        if version is None:
            return 200, list(range(1, len(ids) + 1))
        number = len(ids) if version == "latest" else int(version)
        return 200, self._version(of_subject, number)

    def _look_up(self, of_subject: str, body: Any) -> tuple[int, Any]:
        for number, schema_id in enumerate(self.subjects.get(of_subject, []), start=1):
            if json.loads(self.texts[schema_id]) == json.loads(body["schema"]):
                return 200, self._version(of_subject, number)
        return 404, {"error_code": SCHEMA_NOT_FOUND, "message": "not under this subject"}

    def _version(self, of_subject: str, number: int) -> dict[str, Any]:
        schema_id = self.subjects[of_subject][number - 1]
        return {"subject": of_subject, "version": number, "id": schema_id, "schema": self.texts[schema_id]}


@contextmanager
def running_registry() -> Iterator[LoopbackRegistry]:
    """A registry that listens on a free port of 127.0.0.1 until the block ends."""
    registry = LoopbackRegistry()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body leave together: apart, each answer would wait for a delayed acknowledgement.
        wbufsize = -1

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            path = unquote(urlsplit(self.path).path)
            registry.requests.append((self.command, path))
            status, answer = registry.answer(self.command, path, body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Tests stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    registry.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
