"""Schema registries: the committed directory itself, or any Confluent-compatible one over HTTP.

Ids of the committed directory stand in ``ids.json``: subject → [{version, id, fingerprint}], append-only. A schema has one id,
whatever topics carry it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, Protocol, TypeVar

from schemas.definitions import ROOT, Schema, definition, fingerprint, subject, subjects, versions

if TYPE_CHECKING:
    from confluent_kafka.schema_registry import Schema as ConfluentSchema

T = TypeVar("T")
P = ParamSpec("P")

IDS_PATH = ROOT / "ids.json"

# How long an id that the registry does not know is not asked for again: a flood of records with one wrong id must not become
# a flood of requests, and what waits for a schema that is pushed a moment too late goes on soon.
UNKNOWN_ID_SECONDS = 5.0
# Wrong ids remembered at once; past it the oldest is forgotten.
UNKNOWN_IDS_KEPT = 1024
HTTP_TIMEOUT_SECONDS = 10.0
# Committed ids are given one after the other: one this little above our highest is of a later release, any other of nobody's.
LATER_IDS = 1_000

_NOT_FOUND = 404


class RegistryError(Exception):
    """The registry's contents or our use of it are wrong; the message says what to do."""


class RegistryUnavailableError(RegistryError):
    """The registry could not be asked: nothing is wrong with the record, so try again, do not set it aside."""


class UnknownSchemaIdError(RegistryError):
    """No schema has this id. ``later``: it may be one of a later release than ours, or not be pushed yet."""

    def __init__(self, explanation: str, *, later: bool = False) -> None:
        super().__init__(explanation)
        self.later = later


class Registry(Protocol):
    """What encoding and decoding need. Both methods raise RegistryError."""

    def id_of(self, topic: str, name: str) -> int:
        """Id under which our current schema of a record is written to a topic (``""``: no topic)."""

    def schema(self, schema_id: int) -> Schema:
        """Schema with this id. Raises UnknownSchemaIdError."""


class CommittedVersion(NamedTuple):
    """One line of ids.json."""

    version: int
    id: int
    fingerprint: str


def read_ids(path: Path = IDS_PATH) -> dict[str, list[CommittedVersion]]:
    """The committed ids. Raises RegistryError where the file cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {name: [CommittedVersion(**line) for line in lines] for name, lines in found.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise RegistryError(
            f"{path.name} cannot be read ({type(error).__name__}); take it from version control again"
        ) from error


class FileRegistry:
    """The committed directory as a registry. Every schema is checked against its committed fingerprint at load."""

    def __init__(self, ids_path: Path = IDS_PATH) -> None:
        self._lines = read_ids(ids_path)
        self._schemas: dict[int, Schema] = {}
        self._current: dict[str, int] = {}
        for of_subject, name in subjects().items():
            texts, lines = versions(name), self._lines.get(of_subject, [])
            if len(texts) != len(lines):
                raise RegistryError(
                    f"{of_subject}: {len(texts)} versions committed but {len(lines)} ids; run `luxe schemas generate`"
                )
            for number, (text, line) in enumerate(zip(texts, lines, strict=True), start=1):
                if line.version != number or line.fingerprint != fingerprint(text):
                    raise RegistryError(
                        f"{of_subject} version {number}: its .avsc no longer has the committed fingerprint; "
                        f"`luxe schemas check` says how to go on"
                    )
                self._schemas[line.id] = text
            self._current[of_subject] = lines[-1].id
        self._highest = max(self._schemas)

    def id_of(self, topic: str, name: str) -> int:
        """Committed id of the current schema. Raises RegistryError where the topic does not carry the record."""
        try:
            return self._current[subject(topic, name)]
        except KeyError:
            raise RegistryError(
                f"topic {topic!r} does not carry {name!r}; schemas/topics.py says what it carries"
            ) from None

    def schema(self, schema_id: int) -> Schema:
        """Schema with this committed id. Raises UnknownSchemaIdError."""
        try:
            return self._schemas[schema_id]
        except KeyError:
            later = self._highest < schema_id <= self._highest + LATER_IDS
            raise UnknownSchemaIdError(f"schema id {schema_id} is not committed", later=later) from None

    def subjects(self) -> list[str]:
        """Every subject, sorted."""
        return sorted(self._current)

    def lines(self, of_subject: str) -> list[CommittedVersion]:
        """Versions of a subject, oldest first; empty for an unknown one."""
        return self._lines.get(of_subject, []) if of_subject in self._current else []


class HttpRegistry:
    """A Confluent-compatible registry through confluent's own client. Services only look up; ``luxe schemas push`` registers.

    ``auth`` is ``user:password``. Ids and schemas are kept for good once known; unknown ids for UNKNOWN_ID_SECONDS.
    """

    def __init__(self, url: str, auth: str | None = None, timeout_seconds: float = HTTP_TIMEOUT_SECONDS) -> None:
        # Imported here: the file registry is the default, and the client takes longer to import than all of ours.
        from confluent_kafka.schema_registry import SchemaRegistryClient, SchemaRegistryError

        settings: dict[str, object] = {"url": url, "timeout": timeout_seconds}
        if auth:
            settings["basic.auth.user.info"] = auth
        self.client = SchemaRegistryClient(settings)
        self._error = SchemaRegistryError
        self._ids: dict[str, int] = {}
        self._schemas: dict[int, Schema] = {}
        self._unknown: dict[int, float] = {}
        self._lock = threading.Lock()

    def id_of(self, topic: str, name: str) -> int:
        """Id of *our* current schema, not of the registry's latest: it must say what we write. Raises RegistryError."""
        of_subject = subject(topic, name)
        with self._lock:
            known = self._ids.get(of_subject)
        if known is not None:
            return known
        found = self.find(of_subject, definition(name))
        if found is None:
            raise RegistryError(f"{of_subject}: our schema is not in the registry; run `luxe schemas push`")
        with self._lock:
            self._ids[of_subject] = found
        return found

    def find(self, of_subject: str, schema: Schema) -> int | None:
        """Id under which a subject holds a schema that reads the same; the newest such. None: it does not hold one.

        By fingerprint and not by the registry's own look-up, which tells schemas apart whose documentation differs.
        """
        wanted = fingerprint(schema)
        try:
            for version in sorted(self._ask(self.client.get_versions, of_subject), reverse=True):
                held = self._ask(self.client.get_version, of_subject, version)
                if held.schema_id is not None and fingerprint(_text_of(held.schema)) == wanted:
                    return held.schema_id
        except _NotFoundError:
            pass
        return None

    def schema(self, schema_id: int) -> Schema:
        """Schema with this id. Raises UnknownSchemaIdError, RegistryUnavailableError."""
        with self._lock:
            known = self._schemas.get(schema_id)
            asked_at = self._unknown.get(schema_id)
        if known is not None:
            return known
        if asked_at is not None and time.monotonic() - asked_at < UNKNOWN_ID_SECONDS:
            raise UnknownSchemaIdError(f"schema id {schema_id} is not in the registry", later=True)
        try:
            held = self._ask(self.client.get_schema, schema_id)
        except _NotFoundError:
            self._remember_unknown(schema_id)
            raise UnknownSchemaIdError(f"schema id {schema_id} is not in the registry", later=True) from None
        if held.schema_type != "AVRO":
            self._remember_unknown(schema_id)
            raise UnknownSchemaIdError(f"schema id {schema_id} is of type {held.schema_type}, not AVRO")
        schema = _text_of(held)
        with self._lock:
            self._schemas[schema_id] = schema
        return schema

    def register(self, of_subject: str, text: str) -> int:
        """Register a schema's text under a subject and return its id. Raises RegistryError."""
        from confluent_kafka.schema_registry import Schema as ConfluentSchema

        try:
            return self._ask(self.client.register_schema, of_subject, ConfluentSchema(text, "AVRO"))
        except _NotFoundError:
            raise RegistryError(f"{of_subject}: the registry does not take schemas at this address") from None

    def set_compatibility(self, of_subject: str, level: str) -> None:
        """Set what new versions of a subject must keep. Raises RegistryError."""
        try:
            self._ask(self.client.set_compatibility, of_subject, level)
        except _NotFoundError:
            raise RegistryError(f"{of_subject}: the registry does not take a compatibility level") from None

    def _remember_unknown(self, schema_id: int) -> None:
        with self._lock:
            self._unknown.pop(schema_id, None)
            self._unknown[schema_id] = time.monotonic()
            while len(self._unknown) > UNKNOWN_IDS_KEPT:
                del self._unknown[next(iter(self._unknown))]

    def _ask(self, question: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        try:
            return question(*args, **options)
        except self._error as error:
            if error.http_status_code == _NOT_FOUND:
                raise _NotFoundError from None
            raise RegistryUnavailableError(
                f"schema registry answered {error.http_status_code} (code {error.error_code}): {error.error_message}"
            ) from error
        except Exception as error:
            # The client lets its HTTP library's errors through, and which library that is differs between its versions.
            raise RegistryUnavailableError(
                f"schema registry cannot be reached ({type(error).__name__}); check schema_registry_url"
            ) from error


def _text_of(held: ConfluentSchema) -> Schema:
    return dict(json.loads(held.schema_str or "{}"))


class _NotFoundError(Exception):
    """The registry answered 404."""


def open_registry(url: str, auth: str | None = None) -> FileRegistry | HttpRegistry:
    """``file:`` (the committed directory) or http(s)://…; several HTTP addresses separated by commas. Raises RegistryError."""
    if url == "file:":
        return FileRegistry()
    if url.startswith(("http://", "https://")):
        return HttpRegistry(url, auth)
    raise RegistryError("schema_registry_url must be `file:` or begin with http:// or https://")
