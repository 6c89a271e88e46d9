"""The API under load: preferences read and patched by wrk, over real Kafka, Postgres and relay.

Every patch changes something, and is answered when Kafka has the change; that each answered one was made is looked up afterwards.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import jwt
import psycopg

from api.secret import jwt_secret
from connectors.settings import Settings
from tests.bench.clinic import PATIENTS, add_patients
from tests.bench.report import Figure, rate
from tests.bench.telling import RESULT
from tests.conftest import Stack

TOOL = "wrk"
SCRIPT = Path(__file__).with_name("api_load.lua")
READS_PER_SECOND, PATCHES_PER_SECOND = 1_500.0, 600.0
READ_P99_MS = 20.0
# A closed loop: each connection asks again when it was answered, so the time of an answer is connections ÷ rate.
READ_CONNECTIONS, PATCH_CONNECTIONS = 16, 48
WARM_UP_SECONDS, SECONDS = 5, 15
_RUN_TIMEOUT_SECONDS = 120


def figures(stack: Stack, say: Callable[[str], None]) -> list[Figure]:
    """About a minute."""
    add_patients(stack.settings)
    url = f"http://{stack.settings.api_host}:{stack.settings.api_port}"
    with tempfile.TemporaryDirectory(prefix="luxe-bench-") as folder:
        tokens = Path(folder) / "tokens"
        tokens.write_text("".join(f"{token}\n" for token in _tokens(stack.settings)))

        def loaded(what: Literal["read", "patch"], connections: int) -> Mapping[str, Any]:
            _load(url, what, tokens, connections, WARM_UP_SECONDS, 0)
            before = _versions(stack.settings)
            found = _load(url, what, tokens, connections, SECONDS, 700)
            say(f"{what}: {_in_words(found)}")
            if what == "patch" and (made := _versions(stack.settings) - before) < found["requests"] - found["refused"]:
                raise RuntimeError(f"{found['requests']} patches were answered, {made} were made")
            return found

        read, patched = loaded("read", READ_CONNECTIONS), loaded("patch", PATCH_CONNECTIONS)
    return [
        rate("preferences read", [_rate(read)], [READS_PER_SECOND], "requests/s", 1.0),
        Figure(
            "preferences read, p99 (the goal ÷ ours)",
            read["p99_ms"],
            READ_P99_MS,
            READ_P99_MS / read["p99_ms"],
            "ms",
            1.0,
        ),
        rate("preferences patched, in force", [_rate(patched)], [PATCHES_PER_SECOND], "requests/s", 1.0),
        _answered_well(read, patched),
    ]


def _load(url: str, what: str, tokens: Path, connections: int, seconds: int, first: int) -> Mapping[str, Any]:
    command = [TOOL, "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", "10s", "-s", str(SCRIPT)]
    done = subprocess.run(
        [*command, url, "--", what, str(tokens), str(first)],
        capture_output=True,
        text=True,
        timeout=_RUN_TIMEOUT_SECONDS,
        check=False,
    )
    for line in done.stdout.splitlines():
        if line.startswith(RESULT):
            found: Mapping[str, Any] = json.loads(line.removeprefix(RESULT))
            return found
    raise RuntimeError(f"{TOOL} ended with status {done.returncode}: {(done.stderr or done.stdout)[-500:]}")


def _tokens(settings: Settings) -> list[str]:
    now = int(time.time())
    claims = {"role": "patient", "aud": settings.api_jwt_audience, "iat": now, "exp": now + 3600}
    secret = jwt_secret(settings)
    return [jwt.encode({**claims, "sub": f"p-{number}"}, secret, "HS256") for number in range(PATIENTS)]


def _versions(settings: Settings) -> int:
    """Rises by one with every change of a patient."""
    with psycopg.connect(settings.postgres_dsn.get_secret_value()) as connection:
        row = connection.execute("SELECT sum(version)::bigint FROM recipients").fetchone()
    return 0 if row is None else int(row[0])


def _rate(found: Mapping[str, Any]) -> float:
    return float(found["requests"] / found["seconds"])


def _answered_well(*runs: Mapping[str, Any]) -> Figure:
    asked = sum(run["requests"] + run["broken"] for run in runs)
    well = asked - sum(run["refused"] + run["broken"] for run in runs)
    return Figure("requests answered 200, of all", well, asked, well / asked, "requests", 1.0)


def _in_words(found: Mapping[str, Any]) -> str:
    errors = found["refused"] + found["broken"]
    times = f"p50 {found['p50_ms']:.1f} ms, p99 {found['p99_ms']:.1f} ms, most {found['most_ms']:.1f} ms"
    return f"{_rate(found):,.0f} requests/s, {times}, {errors} errors of {found['requests']:,}"
