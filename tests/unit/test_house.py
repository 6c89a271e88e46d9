"""The house itself: its layout, its packages, its lock, what its pages point to, and how long its modules are."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from cli.topics import markdown_table

ROOT = Path(__file__).parents[2]

# What the owner asked for, and what it cannot be installed or kept without.
TOP_LEVEL = {
    ".ci",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "api",
    "cli",
    "connectors",
    "docker-compose.kafka.yml",
    "docs",
    "pyproject.toml",
    "schemas",
    "sinks",
    "streams",
    "tests",
}
ALSO_THERE = {".gitignore", "requirements.lock"}

# The packages that were fixed from the start → what is imported of them.
FIXED_PACKAGES = {
    "faust-streaming": "faust",
    "confluent-kafka": "confluent_kafka",
    "fastavro": "fastavro",
    "pydantic": "pydantic",
    "clickhouse-connect": "clickhouse_connect",
    "psycopg": "psycopg",
    "twilio": "twilio",
    "sendgrid": "sendgrid",
    "firebase-admin": "firebase_admin",
    "aiohttp": "aiohttp",
    "pytest": "pytest",
    "testcontainers": "testcontainers",
}

MODULE_LINES = 400
LONG_MODULES = {
    "schemas/records.py": "generated from the schemas",
    "tests/integration/sinks/test_conformance.py": "one suite that every sink is run through",
    "tests/integration/test_loopback_sdks.py": "the loopback provider against three real SDKs",
}

# Folders that hold nothing of ours, where no git says so.
NOT_OURS = {".git", ".venv", "build", "__pycache__", ".luxe", ".secrets", "node_modules"}
# Homes and workplaces of one machine, which mean nothing on another.
MACHINE_PATH = re.compile(r"(?<![\w.~*-])/(?:root|work|home/\w+|Users/\w+)(?![\w.-])")
LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
# Prints the packages that our work under another framework's loop loads.
LOADED_BY_THE_WORK = """
import sys
from importlib.metadata import packages_distributions
import tests.bench.yardsticks.work
of = packages_distributions()
print(*{package.lower() for name in sys.modules for package in of.get(name, ())})
"""
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.M | re.S)


@cache
def committed() -> tuple[Path, ...]:
    """The files that git tracks; without a repository (a source archive), those that are here and could be ours."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        found: Iterator[Path] = (ROOT / name for name in listed.split("\0") if name)
    else:
        found = (path for path in ROOT.rglob("*") if not _foreign(path.relative_to(ROOT)))
    return tuple(sorted(path for path in found if path.is_file()))


def _foreign(path: Path) -> bool:
    return any(
        part in NOT_OURS or part.endswith(("_cache", ".egg-info")) or part == ".hypothesis" for part in path.parts
    )


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def texts() -> Iterator[tuple[str, str]]:
    for path in committed():
        try:
            yield name_of(path), path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # golden records are bytes


def pages() -> list[Path]:
    return [path for path in committed() if path.suffix == ".md"]


@cache
def pyproject() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_top_level_is_what_was_asked_for() -> None:
    found = {name_of(path).partition("/")[0] for path in committed()}
    assert found >= TOP_LEVEL
    assert found <= TOP_LEVEL | ALSO_THERE
    assert (ROOT / ".ci" / "run").is_file()


def test_the_continuous_check_can_be_executed() -> None:
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_the_fixed_packages_are_real_dependencies() -> None:
    project = pyproject()["project"]
    assert isinstance(project, dict)
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[\[=<>~! ;]", requirement, maxsplit=1)[0].lower() for requirement in wanted}
    assert set(FIXED_PACKAGES) <= names


def test_the_fixed_packages_are_used() -> None:
    imported: set[str] = set()
    for path in committed():
        if path.suffix != ".py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    assert set(FIXED_PACKAGES.values()) - imported == set()


def test_every_locked_requirement_has_hashes_and_none_a_source() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    lines = lock.splitlines()
    starts = [number for number, line in enumerate(lines) if line and not line.startswith((" ", "#"))]
    assert starts
    for start, end in pairwise([*starts, len(lines)]):
        assert re.match(r"[\w.-]+(\[[\w,.-]+\])?==\S+", lines[start]), lines[start]
        assert any(re.search(r"--hash=sha256:[0-9a-f]{64}", line) for line in lines[start:end]), lines[start]
    assert "://" not in lock
    assert "index" not in re.sub(r"#.*", "", lock)
    assert " @ " not in lock


def test_the_lock_covers_the_fixed_packages() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    locked = {line.partition("==")[0].partition("[")[0].lower() for line in lock.splitlines() if "==" in line}
    assert set(FIXED_PACKAGES) <= locked


def test_the_topics_page_is_the_topic_table() -> None:
    page = (ROOT / "docs" / "topics.md").read_text(encoding="utf-8")
    assert page.endswith(f"\n\n{markdown_table()}"), "run `luxe topics list --markdown` and put it into docs/topics.md"


def test_no_committed_text_names_a_path_of_one_machine() -> None:
    found = [
        f"{name}:{number}"
        for name, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []


def test_a_path_of_one_machine_would_be_noticed() -> None:
    for home in ("root", "work", "home/ada"):
        assert MACHINE_PATH.search(f"see /{home}/notes")
        assert not MACHINE_PATH.search(f"see docs/{home}/notes")


def anchors(page: Path) -> set[str]:
    """Ids of a page's headings, as code hosts make them."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S), re.M
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_no_link_of_a_page_is_dead(page: Path) -> None:
    dead = []
    for target in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        pointed = (page.parent / name).resolve() if name else page
        if not pointed.exists() or (anchor and anchor not in anchors(pointed)):
            dead.append(target)
    assert dead == []


def test_modules_are_short_but_for_those_that_say_why() -> None:
    long = {
        name_of(path)
        for path in committed()
        if path.suffix == ".py" and len(path.read_text(encoding="utf-8").splitlines()) > MODULE_LINES
    }
    assert long == set(LONG_MODULES)


def test_the_environment_of_another_framework_has_what_the_product_imports_there() -> None:
    """`make bench` measures our work under quixstreams, which the lock of this project has no place for."""
    loaded = subprocess.run(
        [sys.executable, "-c", LOADED_BY_THE_WORK], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    lock = (ROOT / "tests/bench/yardsticks/quix-requirements.lock").read_text(encoding="utf-8")
    there = set(re.findall(r"^([a-z0-9-]+)==", lock, re.M))
    project = pyproject()["project"]
    assert isinstance(project, dict)
    declared = {re.split(r"[^\w-]", one)[0].lower() for one in project["dependencies"]}
    assert {"fastavro", "fpdf2"} <= declared & set(loaded) <= there, (
        "add them to quix-requirements.in, and lock it anew"
    )
