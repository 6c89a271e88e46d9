"""The example's week (docs/examples/week) on a stack of its own: each row of `decisions` is explained, and pages show what is so.

Commands of the pages are run as they stand; what they print is compared with what the pages say they print, times of day and days
aside. A line `…` in a page stands for whatever is left out there.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from streams.rules.decision import IN_TIME, RULES
from tests.docs.fences import ROOT, Fence, fences

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

GUIDE, EXPLAINING = ROOT / "docs" / "analysts-guide.md", ROOT / "docs" / "explaining.md"
SETTLE_SECONDS = 180
# One row a request; a digest at its hour would add to them.
EVENTS = 50
# What only waits for its time, or was withdrawn while it did, no rule was asked of.
UNASKED = {"not_due", "before_quiet_hours", "superseded", "cancelled"}
# What the map puts before a reference.
PREFIXES = {"credits": "mem-", "offer": "away-", "review": "rev-"}
# At whatever hour the week is brought in, these are among what it comes to.
REASONS = {
    *("deliver", "not_due", "superseded", "cancelled", "expired", "unknown_recipient", "inactive", "type_disabled"),
    *("do_not_disturb", "global_opt_out", "channel_off", "category_off", "unverified", "opted_out", "no_consent"),
    *("consent_expired", "frequency_never", "frequency_gap", "category_cap", "rate_limit", "digest"),
    *("quiet_hours", "duplicate"),
}


@dataclass(frozen=True, slots=True)
class Clinic:
    """The stack after the week."""

    state: Path

    def luxe(self, *words: str) -> str:
        """What a command prints."""
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *words],
            cwd=ROOT,
            env=os.environ | {"LUXE_STATE_DIR": str(self.state), "LUXE_KAFKA_PARTITIONS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"luxe {' '.join(words)}: {done.stderr[-2000:]}"
        return done.stdout

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Rows of an analyst's query."""
        return [json.loads(line) for line in self.luxe("query", "--format", "json", sql).splitlines()]

    def settled(self) -> list[dict[str, Any]]:
        """Its notifications, once each is decided and what was sent has arrived."""
        deadline, before = time.monotonic() + SETTLE_SECONDS, None
        while True:
            found = self.query(
                "SELECT notification_id, state, reason FROM notifications WHERE clinic_id = 'lakeside' ORDER BY 1"
            )
            moving = [
                row
                for row in found
                if row["state"] in ("undecided", "sent") or row["reason"] in ("not_taken", "queued", "sending")
            ]
            if found and not moving and found == before and self._events() >= EVENTS:
                return found
            assert time.monotonic() < deadline, f"{len(found)} notifications, {len(moving)} of them not settled"
            before = found
            time.sleep(2)

    def _events(self) -> int:
        found = self.query(
            "SELECT count(DISTINCT event_id) AS n FROM merge('luxe', '^raw_event_') WHERE clinic_id = 'lakeside'"
        )
        return int(found[0]["n"])

    def decisions(self) -> list[dict[str, Any]]:
        """The view's rows, those of one notification in order."""
        return self.query("SELECT * FROM decisions WHERE clinic_id = 'lakeside' ORDER BY notification_id, sequence")


def marked(page: Path, mark: str) -> Fence:
    (found,) = [fence for fence in fences(page) if fence.mark == mark]
    return found


def typed(text: str) -> list[tuple[list[str], list[str]]]:
    """Each `$ luxe …` of a block, and the lines that it printed."""
    found: list[tuple[list[str], list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ luxe "):
            found.append((shlex.split(line)[2:], []))
        else:
            found[-1][1].append(line)
    return found


@pytest.fixture(scope="module")
def clinic() -> Iterator[Clinic]:
    # Not under pytest's own folder: Postgres, as another account, must pass through it.
    with tempfile.TemporaryDirectory(prefix="luxe-week-", ignore_cleanup_errors=True) as folder:
        week = Clinic(Path(folder) / "state")
        try:
            week.luxe("up", "--no-fsync", "--owner-pid", str(os.getpid()))
            for words, _ in typed(marked(GUIDE, "the-week").text):
                week.luxe(*words)
            week.settled()
            yield week
        finally:
            week.luxe("down", "--wipe", "--yes")


@pytest.fixture(scope="module")
def rows(clinic: Clinic) -> list[dict[str, Any]]:
    return clinic.decisions()


def test_every_row_is_explained(clinic: Clinic, rows: list[dict[str, Any]]) -> None:
    asked = [name for name, _ in RULES] + [IN_TIME]
    for row in rows:
        where = f"{row['recipient']} {row['notification_type']} {row['outcome']} {row['reason']}"
        assert re.fullmatch(r"[A-Z].+\.", row["sentence"]), where
        assert "{" not in row["sentence"], where
        assert row["says"], where
        assert row["catalog_version"], where
        assert (row["until"] is None) == (row["outcome"] != "defer"), where
        rules = [rule["rule"] for rule in row["rules"]]
        if row["reason"] in UNASKED and rules != asked and len(rules) < len(asked):
            assert rules == ([] if row["outcome"] == "defer" else ["overtaken"]), where
            continue
        # Every rule, once for each channel that it has something to say of, in the order of asking.
        assert list(dict.fromkeys(rules)) == asked, where
        assert {rule["verdict"] for rule in row["rules"]} <= {"pass", "veto", "narrow", "defer", "not_applicable"}
        assert all(rule["reason"] for rule in row["rules"] if rule["verdict"] in ("veto", "narrow", "defer")), where
        assert row["policy_version"] == 1, where
        assert row["recipient_version"] == (0 if row["recipient"] == "patient:w-zoe" else 1), where
        if (
            row["recipient"].startswith("patient:")
            and row["recipient_version"]
            and row["notification_type"] != "win_back"
        ):
            assert set(row["consent_versions"].values()) == {1}, where
        if row["outcome"] == "deliver":
            assert row["template_id"], where
            assert all(step["template_version"] > 0 for step in row["steps"] if step["step"] == 0), where
    assert {row["reason"] for row in rows} >= REASONS
    assert {row["notification_id"] for row in rows} == {row["notification_id"] for row in clinic.settled()}


def test_explain_agrees_with_the_row(clinic: Clinic, rows: list[dict[str, Any]]) -> None:
    """One of each outcome and reason."""
    samples = {(row["outcome"], row["reason"]): row for row in rows if row["is_last"]}
    assert len(samples) >= len(REASONS)
    for row in samples.values():
        told = json.loads(clinic.luxe("explain", "--json", row["notification_id"]))
        last = told["decisions"][-1]
        assert (last["outcome"], last["reason"]) == (row["outcome"], row["reason"])
        assert [{**rule} for rule in last["rules"]] == row["rules"]
        versions = {name: last["versions"][name] for name in ("recipient", "policy", "catalog", "template", "consents")}
        assert versions == {
            **{"recipient": row["recipient_version"], "policy": row["policy_version"]},
            **{"catalog": row["catalog_version"], "template": row["template_id"]},
            "consents": row["consent_versions"],
        }
        if row["outcome"] != "deliver" and row["reason"] not in ("opted_out", "global_opt_out"):
            assert told["sentence"] == row["sentence"]
        elif row["outcome"] == "suppress":  # who said so and when, the row does not know
            assert told["sentence"].endswith("was not sent.") or row["reason"] == "global_opt_out"


# The pages

_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_FLEETING = (
    (re.compile(r"[A-Z][a-z]{2} \d{4}-\d\d-\d\d \d\d:\d\d [A-Z]{3,4}"), "CLOCK"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?Z"), "TIME"),
    (re.compile(r"\d{4}-\d\d-\d\d"), "DATE"),
    (re.compile(rf"\d{{1,2}} ({_MONTHS})( \d{{4}})?"), "DAY"),
    (re.compile(r"\d\d:\d\d on DAY"), "MOMENT"),
    (re.compile(r"(catalogue |\")[0-9a-f]{12}\b"), "CATALOGUE"),
)


def lasting(line: str) -> str:
    """A line without what is another on every run."""
    for pattern, name in _FLEETING:
        line = pattern.sub(name, line)
    return line.rstrip()


def matches(shown: list[str], printed: list[str]) -> bool:
    """Is that what was printed? A line `…` stands for any number of lines."""
    if not shown:
        return not printed
    if shown[0].strip() == "…":
        return any(matches(shown[1:], printed[start:]) for start in range(len(printed) + 1))
    return bool(printed) and lasting(shown[0]) == lasting(printed[0]) and matches(shown[1:], printed[1:])


SHOWN = [
    (GUIDE, "the-weeks-rows"),
    *((EXPLAINING, mark) for mark in ("one", "a-patients", "a-calendar", "what-if")),
]


@pytest.mark.parametrize(("page", "mark"), SHOWN, ids=[mark for _, mark in SHOWN])
def test_a_page_shows_what_is_printed(clinic: Clinic, page: Path, mark: str) -> None:
    for words, shown in typed(marked(page, mark).text):
        printed = clinic.luxe(*words).splitlines()
        assert matches(shown, printed), "\n".join(["the page is to say:", *printed])


@pytest.mark.parametrize(
    ("recipient", "what", "kind", "reason"),
    [
        ("w-paul", "credits", "membership_credits_added", "category_cap"),
        ("w-nils", "offer", "win_back", "frequency_gap"),
        ("w-yuri", "credits", "membership_credits_added", "daily_cap"),
        ("w-tess", "credits", "membership_credits_added", "rate_limit"),
        ("w-rosa", "review", "review_request", "duplicate"),
    ],
)
def test_what_if_says_what_is_then_decided(
    clinic: Clinic, tmp_path: Path, recipient: str, what: str, kind: str, reason: str
) -> None:
    """Asked first, then done: such an event of the week again, of something new or (for a duplicate) of the same."""
    example = ROOT / "docs" / "examples" / "week"
    header, *lines = (example / "events.csv").read_text().splitlines()
    alike = [line.split(",") for line in lines if line.split(",")[1] == what]
    last = next((cells for cells in reversed(alike) if cells[4] == recipient), alike[-1])
    again = reason == "duplicate"
    last[2:5] = [last[2] if again else f"{last[2]}9{recipient[2]}", str(int(last[3]) + again), recipient]
    about = f"rev-{last[2]}" if again else "something-new"
    asked = ("what-if", recipient, "--type", kind, "--at", "now", "--about", about, "--json")
    foretold = json.loads(clinic.luxe(*asked))
    # The first appointment of the file is what its days are moved by.
    first = next(line for line in lines if "2027-03-10" in line and ",booked," in line)
    assert first.split(",")[8] == "2027-03-10"
    (tmp_path / "more.csv").write_text("\n".join([header, first, ",".join(last)]) + "\n")
    clinic.luxe("produce", str(tmp_path / "more.csv"), "--map", str(example / "events.map.yaml"))
    subject, version = f"{PREFIXES[what]}{last[2]}", last[3]
    deadline = time.monotonic() + SETTLE_SECONDS
    while not (found := [row for row in clinic.decisions() if _is_of(row, subject, version, kind, recipient)]):
        assert time.monotonic() < deadline, "the new event is not decided"
        time.sleep(1)
    row = found[0]
    decision = foretold["decision"]
    assert (decision["outcome"], decision["reason"]) == (row["outcome"], row["reason"])
    assert decision["rules"] == row["rules"]
    assert any(rule["reason"] == reason for rule in row["rules"]), row


def _is_of(row: dict[str, Any], subject: str, version: str, kind: str, recipient: str) -> bool:
    return (row["aggregate_id"], str(row["aggregate_version"]), row["notification_type"], row["recipient"]) == (
        subject, version, kind, f"patient:{recipient}"
    )  # fmt: skip
