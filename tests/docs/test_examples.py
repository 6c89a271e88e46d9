"""What our pages tell people to type works.

Python examples of the producer's guide run as they stand, in a process of their own, against the session's broker, and intake's
own checks take what arrives. So does its CSV example. Every `luxe …` line is held against the commands and options there are.

The Node example runs too, with the packages that tests/contract/node pins. The Java example is only read: topic, record, fields
and the settings that matter are compared with the contracts. No JDK or Maven is assumed on a machine that runs the tests, so
nobody has compiled it here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import click
import pytest
from aiokafka.partitioner import murmur2
from confluent_kafka import Message

from cli.main import luxe
from connectors.kafka import read_to_end
from connectors.kafka_admin import create_topics
from connectors.postgres.recipient_columns import known_columns
from connectors.settings import Settings
from schemas.codec import Codec
from schemas.definitions import definition
from schemas.events import EVENT_RECORDS, EVENT_TYPES
from schemas.registry import FileRegistry
from schemas.topics import BY_NAME
from streams.catalog import Catalog
from streams.event_checks import EventChecks
from streams.rules.mapping import compile_mapping
from streams.runtime import Record
from tests.conftest import Stack
from tests.contract.loopback_registry import running_registry
from tests.docs.fences import PAGES, ROOT, CommandLine, Fence, command_lines, fences
from tests.docs.test_week import SHOWN
from tests.node import run_node

GUIDE = ROOT / "docs" / "producers-guide.md"
EXAMPLES = ROOT / "docs" / "examples"
CREATED = EVENT_TYPES["appointment.created"]
COMMAND_LINES = [line for page in PAGES for line in command_lines(page)]
# A cold interpreter on a busy machine.
RUN_SECONDS = 120


def guide(language: str, mark: str | None = None) -> Fence:
    (found,) = [fence for fence in fences(GUIDE) if fence.language == language and fence.mark == mark]
    return found


def executed(fence: Fence) -> set[str]:
    """Ids of the aggregates that an example writes about."""
    return set(re.findall(r"apt-\d+", fence.text))


# Command lines


@pytest.mark.parametrize("line", COMMAND_LINES, ids=str)
def test_every_command_line_in_the_pages_exists(line: CommandLine) -> None:
    command: click.Command = luxe
    context = click.Context(command, info_name="luxe")
    words = list(line.words)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        assert found is not None, f"{line}: no command {words[0]}"
        command = found
        context = click.Context(command, info_name=words.pop(0), parent=context)
    # The parser knows the options and how many words follow each; it opens no file and runs nothing.
    values, surplus, _order = command.make_parser(context).parse_args(words)
    assert not surplus, f"{line}: {surplus} is too much"
    if line.whole:
        missing = [p.name for p in command.params if p.required and not isinstance(values.get(str(p.name)), str)]
        assert not missing, f"{line}: {missing} is missing"


def test_the_pages_name_command_lines_at_all() -> None:
    assert {"up", "demo", "produce", "dead-letters"} <= {line.words[0] for line in COMMAND_LINES}


# SQL


def queries() -> dict[str, str]:
    """Where it stands → every query that a page shows."""
    found = {
        f"{fence.page.name}: {fence.text[:40]!r}": fence.text
        for page in PAGES
        for fence in fences(page)
        if fence.language == "sql"
    }
    shown = (line for line in COMMAND_LINES if line.words[0] == "query" and len(line.words) > 1)
    return found | {str(line): line.words[-1] for line in shown}


ENGINE = """
import json, sys
from pathlib import Path
from clickhouse_connect.driver.exceptions import ClickHouseError
from connectors.clickhouse.client import apply_ddl, open_client
from connectors.clickhouse.tables import DATABASE
from connectors.settings import Settings

settings = Settings(state_dir=Path(sys.argv[1]), clickhouse_dsn="chdb:")
apply_ddl(open_client(settings))
client = open_client(settings, database=DATABASE)
refused = {}
for place, query in json.load(sys.stdin).items():
    try:
        client.raw_query(query, fmt="JSONEachRow")
    except ClickHouseError as error:
        refused[place] = str(error).splitlines()[0]
print(json.dumps(refused))
"""


def test_every_query_in_the_pages_is_one_that_our_tables_answer(tmp_path: Path) -> None:
    # In a process of its own: the engine allows one data directory in each, and other tests have theirs.
    wanted = queries()
    assert len(wanted) > 5
    finished = subprocess.run(
        [sys.executable, "-c", ENGINE, str(tmp_path)],
        cwd=ROOT,
        input=json.dumps(wanted),
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout.splitlines()[-1]) == {}


# Python


@pytest.fixture(scope="module")
def settings(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    own = stack.settings_for(tmp_path_factory.mktemp("producer"))
    create_topics(own)
    return own


@pytest.fixture
def environment(settings: Settings) -> Iterator[dict[str, str]]:
    with running_registry() as registry:
        registry.load_committed()
        yield os.environ | {
            "LUXE_STATE_DIR": str(settings.state_dir),
            "LUXE_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
            "LUXE_SCHEMA_REGISTRY_URL": registry.url,
        }


def run(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )


def arrived(settings: Settings, keys: set[str]) -> list[Message]:
    wanted = {key.encode() for key in keys}
    return [message for message in read_to_end(settings, [CREATED.topic]) if message.key() in wanted]


def taken_by_intake(message: Message) -> str:
    """The event's type, as intake's own checks find it. They raise for anything that would become a dead letter."""
    key, value = message.key(), message.value()
    checks = EventChecks(Codec(FileRegistry()), compile_mapping(Catalog.load()))
    record = Record(
        str(message.topic()),
        message.partition() or 0,
        message.offset() or 0,
        key if isinstance(key, bytes) else None,
        value if isinstance(value, bytes) else None,
        0,
    )
    mapping, _event = checks.read(record, datetime.now(UTC))
    return mapping.event_type


@pytest.mark.integration
@pytest.mark.parametrize("mark", ["codec", "confluent"])
def test_a_python_example_publishes_an_event_that_intake_takes(
    settings: Settings, environment: dict[str, str], mark: str
) -> None:
    example = guide("python", mark)
    finished = run(["-c", example.text], environment)
    assert finished.returncode == 0, finished.stderr
    (message,) = arrived(settings, executed(example))
    assert taken_by_intake(message) == "appointment.created"
    (key,) = executed(example)
    partitions = settings.kafka_partitions
    assert message.partition() == (murmur2(key.encode()) & 0x7FFFFFFF) % partitions


@pytest.mark.integration
def test_the_node_example_publishes_an_event_that_intake_takes(settings: Settings, environment: dict[str, str]) -> None:
    example = guide("javascript", "node")
    run_node(example.text, environment=environment)
    (message,) = arrived(settings, executed(example))
    assert taken_by_intake(message) == "appointment.created"
    (key,) = executed(example)
    assert message.partition() == (murmur2(key.encode()) & 0x7FFFFFFF) % settings.kafka_partitions


def test_every_marked_example_is_executed() -> None:
    marked = {(fence.language, fence.mark) for page in PAGES for fence in fences(page) if fence.mark is not None}
    # Those of the console by tests/docs/test_week.py, test_simulating.py and tests/unit/cli/test_simulate.py.
    in_the_week = {("console", mark) for mark in ("the-week", *(mark for _, mark in SHOWN))}
    simulated = {("console", "a-simulation"), ("console", "catalog-simulate")}
    in_the_guide = {("python", "codec"), ("python", "confluent"), ("javascript", "node")}
    assert marked == in_the_guide | in_the_week | simulated


# CSV


@pytest.mark.integration
def test_the_csv_example_publishes_what_the_guide_says(
    settings: Settings, environment: dict[str, str], tmp_path: Path
) -> None:
    for name in ("bookings.csv", "bookings.map.yaml"):
        shutil.copy(EXAMPLES / name, tmp_path)
    command = [
        "-m",
        "cli.main",
        "produce",
        str(tmp_path / "bookings.csv"),
        "--map",
        str(tmp_path / "bookings.map.yaml"),
    ]

    dry = run([*command, "--dry-run"], environment)
    assert dry.returncode == 0, dry.stderr
    assert "4 rows = 3 taken + 1 rejected; 4 events would be published" in dry.stdout
    assert "rejected: line 4: Mobile: " in dry.stdout
    assert "Ada" not in dry.stdout + dry.stderr
    assert not arrived(settings, {"bk-7001"})

    people = tmp_path / "people.jsonl"
    written = run([*command, "--recipients-to", str(people)], environment)
    assert written.returncode == 0, written.stderr
    recipients = [json.loads(line) for line in people.read_text().splitlines()]
    assert [one["recipient_id"] for one in recipients] == ["g-301", "g-302"]
    assert set().union(*recipients) <= set(known_columns())

    published = run([*command, "--json"], environment)
    assert published.returncode == 0, published.stderr
    totals = json.loads(published.stdout)
    assert totals["by_type"] == {"appointment.created": 3, "appointment.cancelled": 1}
    messages = arrived(settings, {"bk-7001", "bk-7002", "bk-7003", "bk-7004"})
    types = sorted(taken_by_intake(message) for message in messages)
    assert types == ["appointment.cancelled", *["appointment.created"] * 3]

    again = run(command, environment)
    assert "was published already" in again.stderr
    assert len(arrived(settings, {"bk-7001"})) == 1


# Java and Node, by reading


REQUIRED = {
    "java": (
        '"auto.register.schemas", "false"',
        '"use.latest.version", "true"',
        '"value.subject.name.strategy", "io.confluent.kafka.serializers.subject.TopicRecordNameStrategy"',
        '"enable.idempotence", "true"',
        '"acks", "all"',
    ),
    "javascript": (
        "createPartitioner: Partitioners.DefaultPartitioner",
        "registry.getLatestSchemaId(`${TOPIC}-${RECORD}`)",
        "idempotent: true",
        "acks: -1",
    ),
}
FIELD = {"java": re.compile(r'\.set\("(\w+)"'), "javascript": re.compile(r"^    (\w+): ", re.M)}


@pytest.mark.parametrize(("language", "mark"), [("java", None), ("javascript", "node")])
def test_a_foreign_example_names_what_there_is(language: str, mark: str | None) -> None:
    text = guide(language, mark).text
    missing = [setting for setting in REQUIRED[language] if setting not in text]
    assert not missing
    if language == "java":
        # Java's own partitioner is the right one.
        assert '"partitioner.class"' not in text

    (record,) = set(re.findall(r"luxe\.events\.\w+", text))
    topics = set(re.findall(r"""["'](events\.\w+)["'-]""", text))
    assert topics == {CREATED.topic}
    assert CREATED.topic in BY_NAME
    assert EVENT_RECORDS[record] == "appointment.created"

    body = text.partition("const event = {")[2].partition("\n  };")[0] if language == "javascript" else text
    fields = FIELD[language].findall(body)
    declared = {field["name"]: "default" in field for field in definition(record)["fields"]}
    assert set(fields) <= set(declared)
    assert {name for name, has_default in declared.items() if not has_default} <= set(fields)
    assert len(fields) == len(set(fields))
    assert "aggregate_id" in text.partition("ProducerRecord<>(" if language == "java" else "messages: [{ key:")[2]
