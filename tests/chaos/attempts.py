"""Sinks that die at every step of an attempt, life after life, and the account of what became of their messages."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from schemas.topics import LANES
from tests.integration.sinks.outgoing import Outbox, Outgoing
from tests.integration.sinks.rig import TUNING, Rig, environment, wait_for

REPOSITORY = Path(__file__).parents[2]
# A lease of 4 s: a life waits for the one before it that long.
SHORT_LEASES = {
    f"LUXE_SINKS_{name}_SECONDS": "3" for name in ("SMS_CALL", "EMAIL_CALL", "ATTACHMENTS_CALL", "PUSH_CALL")
}
SHORT_LEASES |= {"LUXE_SINKS_IN_APP_CALL_SECONDS": "3", "LUXE_SINKS_LEASE_MARGIN_SECONDS": "1"}
# A killed sink's leased tokens are lost, up to a block (a hundredth of a day's) each time: so many kills use up several days.
NO_LIMITS = {
    f"LUXE_LIMIT_{channel}_PER_{window}": "0" for channel in ("SMS", "EMAIL", "PUSH") for window in ("SECOND", "DAY")
}
DEATH_SECONDS = 120.0  # a start and a lease, many times over
MESSAGES_A_LIFE = 8
# These are passed once for each partition, or each doubt, of which there may be one.
PASSED_ONCE = frozenset({"committed", "asking", "asked"})


@dataclass
class Life:
    """One sink process. Times in seconds since 1970."""

    step: str
    journal: Path
    process: subprocess.Popen[bytes]
    began: float

    def words(self) -> dict[str, list[str]]:
        """Delivery id → what the journal says of it."""
        found: dict[str, list[str]] = {}
        for line in self.journal.read_text().splitlines() if self.journal.exists() else ():
            word, delivery_id = line.split()
            found.setdefault(delivery_id, []).append(word)
        return found

    def in_flight(self) -> set[str]:
        """Deliveries that may have had a row in the ledger, and no end that we know of, when it died."""
        return {one for one, words in self.words().items() if words[-1] != "entered"}

    def calling(self) -> set[str]:
        """Of those, the ones it had called the provider for: at most these are at the provider without our knowing."""
        return {one for one, words in self.words().items() if "calling" in words and words[-1] != "entered"}

    def unanswered(self) -> Counter[str]:
        """Calls that got no answer while it lived."""
        return Counter({one: words.count("unanswered") for one, words in self.words().items()})


@dataclass
class Victim:
    """One channel's sinks, one after the other, and the messages they were given."""

    rig: Rig
    outbox: Outbox
    channel: str
    people: Sequence[str]
    folder: Path
    dice: random.Random
    lives: list[Life] = field(default_factory=list)
    messages: list[Outgoing] = field(default_factory=list)

    def feed(self) -> list[Outgoing]:
        """A few messages, half of them essential, over all lanes."""
        made = [
            self.outbox.outgoing(
                self.channel, self.dice.choice(self.people), essential=number % 2 == 0, lane=self.dice.choice(LANES)
            )
            for number in range(MESSAGES_A_LIFE)
        ]
        self.messages += made
        self.outbox.send(made)
        return made

    def start(self, step: str = "", by: str = "SIGKILL", member: str = "") -> Life:
        """A sink that ends, or stands still, at a step; without one it lives."""
        journal = self.folder / f"{self.channel}-{len(self.lives)}.journal"
        passing = 1 if step in PASSED_ONCE else self.dice.randint(1, 4)
        said = {
            "DIE_AT": step,
            "DIE_PASSING": str(passing),
            "DIE_BY": by,
            "DIE_DELAY_MS": str(self.dice.randrange(40)),
            "DIE_JOURNAL": str(journal),
            "DIE_MEMBER": member,
        }
        with (self.folder / f"{self.channel}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.dying_sink", self.channel],
                cwd=REPOSITORY,
                env=environment(self.rig.settings, self.channel) | TUNING | SHORT_LEASES | NO_LIMITS | said,
                stdout=log,
                stderr=log,
            )
        self.lives.append(Life(step, journal, process, time.time()))
        return self.lives[-1]

    def die(self, steps: Iterable[str], progress: Callable[[], None]) -> None:
        """One life after the other, each with new messages and with what the one before left."""
        for step in steps:
            self.feed()
            life = self.start(step, member=self.channel)
            status = life.process.wait(DEATH_SECONDS)
            assert status == -signal.SIGKILL, f"{self.channel} at {step}: ended with {status}\n{self.log()}"
            progress()

    def settle(self) -> Account:
        """A last sink that lives, until everything has its end; then the account."""
        life = self.start(member=self.channel)
        try:
            return take_account(self)
        finally:
            life.process.send_signal(signal.SIGTERM)
            assert life.process.wait(60) == 0, self.log()

    def stop(self) -> None:
        """Whatever still runs."""
        for life in self.lives:
            if life.process.poll() is None:
                life.process.kill()
                life.process.wait()

    def log(self) -> str:
        """The end of what its sinks said."""
        return (self.folder / f"{self.channel}.log").read_text()[-3000:]


@dataclass
class Account:
    """What became of one channel's messages."""

    channel: str
    messages: int
    lost: list[str]  # told as sent and not at the provider
    over_bound: list[str]  # at the provider oftener than documented
    odd_ends: dict[str, list[str]]  # several ends, or one that nothing explains
    kills: Counter[str]  # by step, as all below
    in_doubt: Counter[str]  # calls that the ledger had no end of
    twice: Counter[str]  # sent again
    unknown: int

    def __bool__(self) -> bool:
        return not (self.lost or self.over_bound or self.odd_ends)

    @property
    def duplicates(self) -> int:
        """Sendings beyond each message's first."""
        return self.twice.total()

    def table(self) -> str:
        """One line for each step."""
        lines = [
            f"  {step:<13}{self.kills[step]:>7}{self.in_doubt[step]:>10}{self.twice[step]:>12}" for step in self.kills
        ]
        return "\n".join(
            [
                f"{self.channel}: {self.messages} messages, lost {len(self.lost)}, unknown {self.unknown}",
                f"  {'killed at':<13}{'kills':>7}{'in doubt':>10}{'sent twice':>12}",
                *lines,
                f"  {'':<13}{self.kills.total():>7}{self.in_doubt.total():>10}{self.twice.total():>12}",
            ]
        )


def bound(message: Outgoing, doubts: int) -> int:
    """How often a message may be at its provider: once, and once for each doubt that cannot be asked away."""
    may_double = message.message["essential"] and message.message["channel"] in ("email", "push")
    return 1 + (doubts if may_double else 0)


def take_account(victim: Victim) -> Account:
    """Waits for the end of every message, and compares what was told with what the provider has."""
    eye, lives = victim.rig.eye, victim.lives
    doubts: Counter[str] = Counter()
    in_flight: set[str] = set()
    kills: Counter[str] = Counter()
    in_doubt: Counter[str] = Counter()
    for life in lives[:-1]:
        calling = life.calling()
        kills[life.step] += 1
        in_doubt[life.step] += len(calling)
        doubts.update(calling)
        doubts.update(life.unanswered())
        in_flight |= life.in_flight() | set(+life.unanswered())
    account = Account(victim.channel, len(victim.messages), [], [], {}, kills, in_doubt, Counter(), 0)
    for message in victim.messages:
        eye.end(message.id)
    wait_for(lambda: sum(sum(victim.rig.committed(victim.channel, lane).values()) for lane in LANES) == 0)
    for message in victim.messages:
        ends = sorted({status["status"] for status in eye.ends(message.id)})
        taken = victim.rig.taken(message)
        if ends == ["unknown"]:
            account.unknown += 1
        if ends not in (["sent"], ["unknown"]) or ("unknown" in ends and not _may_stay_unknown(message, in_flight)):
            account.odd_ends[message.id] = ends
        if not taken and ends == ["sent"]:
            account.lost.append(message.id)
        if len(taken) > bound(message, doubts[message.id]):
            account.over_bound.append(message.id)
        for earlier in taken[:-1]:
            account.twice[_life_of(earlier, lives).step] += 1
    return account


def _may_stay_unknown(message: Outgoing, in_flight: set[str]) -> bool:
    return message.id in in_flight and not message.message["essential"] and message.message["channel"] != "in_app"


def _life_of(taken: dict[str, Any], lives: Sequence[Life]) -> Life:
    at = datetime.fromisoformat(taken["accepted_at"]).timestamp()
    return [life for life in lives if life.began <= at][-1]
