"""A dump shows nothing: whatever the pipeline keeps, nobody's name, number, address or words lie in it in clear.

One person whose every word is a word that nothing else has goes the whole way, by every event type there is and by spoilt
records. Then everything the stack keeps is read as its owner would dump it (topics, tables of both databases, the streams' state)
and byte by byte from its folder, and that word is looked for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from psycopg import sql
from rocksdict import AccessType, Options, Rdict

from connectors.clickhouse.remote import open_remote
from connectors.kafka import make_consumer, make_producer
from connectors.settings import Settings
from connectors.stack.stack import LocalStack
from schemas.codec import Codec
from schemas.definitions import definition
from schemas.events import ENVELOPE, EVENT_TYPES
from schemas.registry import FileRegistry
from tests.unit.rules.events import event

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

WORD = "zebulonqx"
PHONE = "+12065550187"
EMAIL = f"{WORD}@example.com"
TRACES = (WORD.encode(), PHONE[2:].encode())
PATIENT = "canary-1"
CLINIC = "clinic-demo"
SETTLE_SECONDS = 180
# A whole clinic's day fits in it many times; a folder that outgrows it is not read to its end, and the test says so.
MAX_FILE_BYTES = 256 * 1024 * 1024

ROW = {
    "recipient_id": PATIENT,
    "kind": "patient",
    "clinic_id": CLINIC,
    "first_name": WORD.title(),
    "last_name": f"Quartermain-{WORD}",
    "birthday": "1961-07-19",
    "time_zone": "America/New_York",
    "phone": PHONE,
    "phone_verified": True,
    "email": EMAIL,
    "email_verified": True,
    "consent.sms_transactional": "opted_in",
    "consent.email_transactional": "opted_in",
    "consent.email_marketing": "opted_in",
    "email_opt_in.marketing": True,
}


def told(event_type: str) -> dict[str, Any]:
    """An event in which every field that may be somebody's holds the word; ids are ids."""
    value = event(event_type, aggregate_id=f"a-{event_type}", clinic_id=CLINIC)
    value["occurred_at"] = datetime.now(UTC).replace(microsecond=0)
    for field in definition(EVENT_TYPES[event_type].record)["fields"]:
        name = field["name"]
        if name in ENVELOPE and name != "metadata":
            continue
        value[name] = _filled(field, value[name])
    return value


def _filled(field: dict[str, Any], plain: Any) -> Any:
    name = field["name"]
    if name == "recipient":
        return f"patient:{PATIENT}"
    if "patient" in name and name.endswith(("_id", "patients")):
        return PATIENT if name.endswith("_id") else [PATIENT]
    if "date" in str(field["type"]) and name.endswith("date"):
        return (datetime.now(UTC) + timedelta(days=9)).date() if plain is not None else None
    if field["phi"] == "none":
        return plain
    branches = field["type"] if isinstance(field["type"], list) else [field["type"]]
    kind = next(branch for branch in branches if branch != "null")
    if field.get("format") == "e164":
        return PHONE
    if field.get("format") == "email":
        return EMAIL
    if field.get("format") or field.get("pattern"):
        return plain
    if kind == "string":
        return PHONE if name == "from" else f"{WORD} {name}"[: field.get("maxLength", 80)]
    if isinstance(kind, dict) and kind["type"] == "array" and kind["items"] == "string":
        return [f"{WORD} of {name}"]
    if isinstance(kind, dict) and kind["type"] == "map" and kind["values"] == "string":
        return {f"{WORD}-key": f"{WORD} of {name}"}
    return plain


@pytest.fixture(scope="module")
def state_dir() -> Iterator[Path]:
    # Not under pytest's own folder: Postgres, as another account, must pass through it.
    with tempfile.TemporaryDirectory(prefix="luxe-phi-", ignore_cleanup_errors=True) as folder:
        state = Path(folder) / "state"
        yield state
        luxe(state, "down", "--wipe", "--yes")


def luxe(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        env=os.environ | {"LUXE_STATE_DIR": str(state), "COLUMNS": "250"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def publish(settings: Settings) -> int:
    """Every event type once, whole, then spoilt in each way that a producer finds; how many records."""
    codec, producer = Codec(FileRegistry()), make_producer(settings)
    for event_type, contract in EVENT_TYPES.items():
        value = told(event_type)
        producer.produce(
            contract.topic, codec.encode(contract.topic, contract.record, value), value["aggregate_id"].encode()
        )
    contract = EVENT_TYPES["appointment.created"]
    wire = codec.encode(contract.topic, contract.record, told("appointment.created") | {"aggregate_id": "a-spoilt"})
    unlikely = told("appointment.created") | {"aggregate_id": "a-unlikely", "duration": -1}
    spoilt: list[tuple[bytes | None, bytes | None]] = [
        (EMAIL.encode(), wire),  # keyed by an address
        (EMAIL.encode(), None),
        (WORD.encode(), b"\x07" + wire[1:]),
        (WORD.encode(), wire[:-9]),
        (b"a-spoilt", wire.replace(WORD.encode(), WORD.encode()[:-1] + b"\xff")),
        (b"a-spoilt", json.dumps({"patient_name": WORD}).encode()),
        (b"a-unlikely", codec.encode(contract.topic, contract.record, unlikely)),
    ]
    headers: list[tuple[str, str | bytes | None]] = [("traceparent", WORD.encode()), ("patient", WORD.encode())]
    for key, body in spoilt:
        producer.produce(contract.topic, body, key, headers=headers)
    marked = told("appointment.checked_in") | {"aggregate_id": "a-marked"}
    contract = EVENT_TYPES["appointment.checked_in"]
    producer.produce(
        contract.topic, codec.encode(contract.topic, contract.record, marked), b"a-marked", headers=headers
    )
    assert producer.flush(30) == 0
    return len(EVENT_TYPES) + 1 + len(spoilt)


def settled(state: Path, records: int) -> bool:
    """Whether every record has come to something, and every message to its end."""
    found = json.loads(luxe(state, "account", "--json").stdout or "{}")
    if not found or found["differences"]:
        return False
    moving = sum(
        count
        for name, count in found["states"].items()
        if name.startswith(("undecided", "waiting/queued", "waiting/sending", "sent"))
    )
    return not moving and found["events"] + found["unreadable_records"] >= records and bool(found["accepted"])


def holds(data: bytes | None) -> bool:
    return data is not None and any(trace in data.lower() for trace in TRACES)


def topics(settings: Settings) -> Iterator[tuple[str, bytes]]:
    """Every record of every topic, Kafka's own and what was never committed included: where it lies, and its bytes."""
    consumer: Consumer = make_consumer(
        settings, "test-no-phi", enable_partition_eof=True, isolation_level="read_uncommitted"
    )
    try:
        known = consumer.list_topics(timeout=30).topics
        pending = {(name, partition) for name, topic in known.items() for partition in topic.partitions}
        consumer.assign([TopicPartition(name, partition, 0) for name, partition in sorted(pending)])
        while pending:
            for message in consumer.consume(5_000, 1.0):
                error = message.error()
                if error is None:
                    yield f"topic {message.topic()}", _parts(message)
                else:
                    assert error.code() == KafkaError._PARTITION_EOF, error.str()
                    pending.discard((message.topic() or "", message.partition() or 0))
    finally:
        consumer.close()


def _parts(message: Message) -> bytes:
    named = list(message.headers() or ())
    return b" ".join((message.key() or b"", message.value() or b"", repr(named).encode()))


def postgres(settings: Settings) -> Iterator[tuple[str, bytes]]:
    """Every table, in the form that shows bytes as they are."""
    with psycopg.connect(settings.postgres_dsn.get_secret_value()) as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        for schema, table in tables:
            copy_out = sql.SQL("COPY {} TO STDOUT (FORMAT binary)").format(sql.Identifier(schema, table))
            with connection.cursor().copy(copy_out) as copy:
                yield f"Postgres {table}", b"".join(bytes(block) for block in copy)


def clickhouse(settings: Settings) -> Iterator[tuple[str, bytes]]:
    """Every table and view, as text."""
    client: Client = open_remote(settings)
    tables = client.query("SELECT name FROM system.tables WHERE database = 'luxe'").result_rows
    for (table,) in tables:
        yield f"ClickHouse {table}", client.raw_query(f"SELECT * FROM luxe.`{table}`", fmt="TSVRaw")  # noqa: S608


def stores(state: Path) -> Iterator[tuple[str, bytes]]:
    """Every row of the streams' state; their processes have ended."""
    for current in sorted((state / "streams").rglob("CURRENT")):
        store = Rdict(str(current.parent), Options(raw_mode=True), access_type=AccessType.read_only())
        for key, value in store.items():
            yield (
                f"state {current.parent.relative_to(state)}",
                b" ".join(part for part in (key, value) if isinstance(part, bytes)),
            )
        store.close()


def files(state: Path) -> Iterator[tuple[str, bytes]]:
    """Every file: logs, pid files, what the stores write. Left out: producers' topics and the provider's own list."""
    for path in sorted(state.rglob("*")):
        place = path.relative_to(state)
        if place.parts[0] == "loopback" or str(place).startswith("kafka/data/events."):
            continue
        if path.is_file():
            assert path.stat().st_size <= MAX_FILE_BYTES, place
            yield f"file {place}", path.read_bytes()


def test_nothing_of_a_person_lies_in_clear_but_where_it_must(state_dir: Path) -> None:
    assert luxe(state_dir, "up").returncode == 0
    people = state_dir.parent / "people.jsonl"
    people.write_text(json.dumps(ROW) + "\n")
    imported = luxe(state_dir, "recipients", "import", str(people))
    assert imported.returncode == 0, imported.stderr
    settings = LocalStack(state_dir).settings()
    records = publish(settings)
    deadline = time.monotonic() + SETTLE_SECONDS
    while not settled(state_dir, records):
        assert time.monotonic() < deadline, luxe(state_dir, "account", "--json").stdout
        time.sleep(2)

    shown = [luxe(state_dir, *words) for words in (("dead-letters", "list"), ("dead-letters", "list", "--json"))]
    shown += [luxe(state_dir, "account"), luxe(state_dir, "recipients", "show", f"patient:{PATIENT}")]
    letters = [json.loads(line) for line in shown[1].stdout.splitlines()]
    assert {letter["error_code"] for letter in letters} >= {
        "wrong_key",
        "invalid_utf8",
        "tombstone",
        "impossible_value",
    }
    shown += [luxe(state_dir, "dead-letters", "show", letter["dead_letter_id"]) for letter in letters]

    found: dict[str, int] = {}
    for where, data in (*topics(settings), *postgres(settings), *clickhouse(settings)):
        found[where] = found.get(where, 0) + holds(data)
    assert luxe(state_dir, "down").returncode == 0
    for where, data in (*stores(state_dir), *files(state_dir)):
        found[where] = found.get(where, 0) + holds(data)
    for done in shown:
        assert not holds((done.stdout + done.stderr).encode()), done.args

    # It did go the whole way: in clear with its producers, and at the provider.
    assert all(
        found.pop(f"topic {contract.topic}") for contract in EVENT_TYPES.values() if f"topic {contract.topic}" in found
    )
    provider = (state_dir / "loopback" / "messages.jsonl").read_bytes()
    assert holds(provider)
    for read in (
        "topic notify-state",
        "topic dead-letters",
        "Postgres recipients",
        "ClickHouse raw_recipient",
        "file logs/notify.log",
    ):
        assert read in found
    assert any(where.startswith("state streams/notify") for where in found)
    assert {where: count for where, count in found.items() if count} == {}
