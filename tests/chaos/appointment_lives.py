"""Lives of appointments at random, what a model of ten lines says must come of them, and the real intake and notify living them.

Appointments are booked, confirmed, moved, called off, restored, attended. Each event reaches intake late, twice, after later
ones. Time passes; notify is away for a while; every batch may die at any step (tests/partition_in_memory.py). Times are minutes
since the beginning.
"""

from __future__ import annotations

import random
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from schemas.events import EVENT_TYPES
from schemas.ids import notification_id
from schemas.topics import DEAD_LETTERS, DECISIONS, REQUESTED, STATUS, TEMPLATES
from streams.catalog import Catalog
from streams.render.sources import load_templates
from streams.runtime import Output
from streams.runtime.rows import TIMER
from streams.runtime.tuning import Tuning
from tests.intake_world import IntakeWorld
from tests.notify_world import World
from tests.partition_in_memory import Crash, Owner
from tests.unit.rules.events import event

ZONE = ZoneInfo("America/New_York")
BEGINNING = datetime(2026, 6, 1, 8, 0, tzinfo=ZONE)  # no change of summer time within the weeks of a life
BEGINNING_MS = int(BEGINNING.timestamp() * 1000)
MINUTE_MS = 60_000
DAY = 24 * 60
PATIENT = "patient:p1"
# What the catalogue promises, said again here: reminder → minutes before the appointment when it is due, and when it is too late;
# and how many minutes after the event it must be at least.
REMINDERS = {
    "appointment_reminder_48h": (48 * 60, 26 * 60, 12 * 60),
    "appointment_reminder_24h": (24 * 60, 3 * 60, 6 * 60),
    "appointment_reminder_2h": (2 * 60, 15, 60),
    "check_in_ready": (30, 0, 1),
}
# Of these, the ones that ask for a confirmation, and are not sent any more once it is there.
ASKING = frozenset({"appointment_reminder_48h", "appointment_reminder_24h"})
STANDING = ("rescheduled", "rescheduled", "rescheduled", "cancelled", "cancelled", "checked_in", "no_show")
CALLED_OFF = ("restored", "restored", "restored", "rescheduled", "no_show")
# Before the two fields of an event that say when the appointment starts.
START_FIELDS = {
    "created": "appointment",
    "confirmed": "appointment",
    "rescheduled": "new",
    "cancelled": "appointment",
    "restored": "appointment",
    "no_show": "scheduled",
}
# What intake says of events that came too late to mean anything.
NOT_IN_FORCE = {"duplicate_event", "superseded_event", "closed_aggregate"}
# How often a batch dies, and where.
CRASHES = (Crash.BEFORE_COMMIT, Crash.BEFORE_WRITE, Crash.MOVED)
CRASH_SHARE = 0.12
# So few that what is due at once takes several batches.
TIMERS_A_BATCH = tuple(Tuning(batch_timers=timers) for timers in (1, 3, 500))


class Happening(NamedTuple):
    """An event of an appointment: its version, what happened and when, and for what time the appointment stands after it.

    ``confirmed`` is of the version that is confirmed, as the webhook tells it.
    """

    appointment: int
    version: int
    kind: str
    minute: int
    starts: int

    @property
    def event_id(self) -> str:
        """The same whenever it is told."""
        number = self.version + (500 if self.kind == "confirmed" else 0)
        return str(uuid.UUID(int=(self.appointment + 1) * 1000 + number, version=4))


@dataclass(frozen=True)
class Life:
    """``told``: (minute of arrival, what), in that order. ``away``: from and until when notify does not run."""

    told: tuple[tuple[int, Happening], ...]
    away: tuple[int, int]
    crashes: int  # the seed of the dice that say where a batch dies and how much it takes

    def shorter(self) -> Iterator[Life]:
        """Lives with a little less in them."""
        for at in range(len(self.told)):
            yield replace(self, told=self.told[:at] + self.told[at + 1 :])
        if self.away[0] < self.away[1]:
            yield replace(self, away=(0, 0))
        if self.crashes:
            yield replace(self, crashes=0)


def life_of(seed: int) -> Life:
    """One life of one or two appointments."""
    dice = random.Random(seed)
    told: list[tuple[int, Happening]] = []
    for appointment in range(dice.choice((1, 1, 2))):
        for happening in _happenings(dice, appointment):
            delay = dice.choice((0, 0, 0, 1, 7, 61, 500, 2000))
            told.append((_odd(happening.minute + delay), happening))
            if dice.random() < 0.3:
                told.append((_odd(happening.minute + delay + dice.randrange(3000)), happening))
    away = (0, 0)
    if dice.random() < 0.4:
        begin = dice.randrange(8 * DAY)
        away = (begin, begin + dice.choice((10, 200, 2000)))
    dice.shuffle(told)
    return Life(tuple(sorted(told, key=lambda one: one[0])), away, seed + 1)


def _happenings(dice: random.Random, appointment: int) -> Iterator[Happening]:
    minute, stands = dice.randrange(DAY), True
    yield (last := Happening(appointment, 1, "created", minute, _starts(dice, minute)))
    for version in range(2, 2 + dice.randrange(7)):
        if stands and dice.random() < 0.4:
            yield last._replace(kind="confirmed", minute=minute + dice.choice((1, 30, 400)))
        minute += dice.choice((0, 1, 30, 400, 1500))
        kind = dice.choice(STANDING if stands else CALLED_OFF)
        stands = stands if kind == "no_show" else kind != "cancelled"
        yield (last := Happening(appointment, version, kind, minute, _starts(dice, minute)))


def _starts(dice: random.Random, minute: int) -> int:
    """Within working hours of the same or one of the next days, on the half hour."""
    hours = (minute + 8 * 60) // 60
    day = hours // 24 + dice.choice((0, 1, 1, 2, 3, 5))
    return day * DAY + dice.randrange(2, 10) * 60 + dice.choice((0, 30))


def _odd(minute: int) -> int:
    """Not on a half hour, when something may be due: which of two at the same instant comes first is nobody's promise."""
    return minute if minute % 30 else minute + 1


def expected(seen: Sequence[tuple[int, Sequence[Happening]]]) -> Counter[tuple[int, int, str]]:
    """The model. ``seen``: (minute, what reached notify then), in order; what was due is looked at after it."""
    sent: Counter[tuple[int, int, str]] = Counter()
    newest: dict[int, int] = {}
    confirmed: dict[int, int] = {}
    called_off: set[int] = set()
    waiting: dict[tuple[int, int, str], tuple[int, int]] = {}
    for now, happenings in seen:
        for one in (*happenings, None):
            if one is not None and one.kind == "confirmed":
                if one.appointment not in called_off:
                    confirmed[one.appointment] = max(confirmed.get(one.appointment, 0), one.version)
            elif one is not None:
                if one.version <= newest.get(one.appointment, 0):
                    continue
                newest[one.appointment] = one.version
                if one.kind != "no_show":
                    (called_off.add if one.kind == "cancelled" else called_off.discard)(one.appointment)
                waiting = {key: times for key, times in waiting.items() if key[0] != one.appointment}
                for kind, (before, late, lead) in (
                    REMINDERS.items() if one.kind in ("created", "rescheduled", "restored") else ()
                ):
                    if one.starts - before - lead >= one.minute:
                        waiting[one.appointment, one.version, kind] = (one.starts - before, one.starts - late)
            for key in [key for key in waiting if key[2] in ASKING and key[1] <= confirmed.get(key[0], 0)]:
                del waiting[key]
            due = [key for key in waiting if waiting[key][0] <= now and (one is None or key[:2] == one[:2])]
            sent.update(key for key in due if now < waiting.pop(key)[1])
    return sent


class Clinic:
    """Intake and notify as they are, one after the other, to live a life in."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        for row in load_templates(Catalog.load()):
            key = f"{row['template_id']}/{row['channel']}/{row['locale']}/{row['version']}".encode()
            self.world.templates.changed(key, self.world.codec.encode(TEMPLATES, "luxe.pipeline.Template", row))
        self.world.add_policy("clinic-1")
        self.mapping = IntakeWorld(folder, beside=self.world)

    def live(self, life: Life) -> str | None:
        """What is wrong with how the life went; None: nothing."""
        return _Living(self, life).faults()


class _Living:
    def __init__(self, clinic: Clinic, life: Life) -> None:
        self._clinic, self._life, self._codec = clinic, life, clinic.world.codec
        self._dice = random.Random(life.crashes)
        mapping, world = clinic.mapping, clinic.world
        topics = sorted({contract.topic for contract in EVENT_TYPES.values()})
        self._intake = Owner(topics, mapping.intake.work, mapping.dead_letters)
        few = self._dice.choice(TIMERS_A_BATCH)
        self._notify = Owner([REQUESTED, STATUS], world.notify.work, world.dead_letters, few)
        self._arrived: list[Happening] = []
        self._seen: list[tuple[int, list[Happening]]] = []
        self._messages: Counter[tuple[int, int, str]] = Counter()
        self._final: Counter[str] = Counter()
        self._faults: list[str] = []
        self._named = {
            notification_id(one.event_id, kind, PATIENT, 0): (one.appointment, one.version, kind)
            for _, one in life.told
            for kind in REMINDERS
        }

    def faults(self) -> str | None:
        self._live()
        wanted = expected(self._seen)
        if self._messages != wanted:
            self._faults.append(f"missing {dict(wanted - self._messages)}, too many {dict(self._messages - wanted)}")
        if doubled := [one for one, times in self._final.items() if times > 1]:
            self._faults.append(f"{len(doubled)} notifications ended twice")
        if left := [row for row, _ in self._notify.store.items(b"") if row.startswith((b"tn", b"sw"))]:
            self._faults.append(f"{len(left)} rows still wait")
        held = sum(row.startswith(TIMER) for row, _ in self._notify.store.items(b""))
        if self._notify.metrics.timers[0] != held:
            self._faults.append(f"{held} timers are counted as {self._notify.metrics.timers[0]}")
        return "; ".join(self._faults) or None

    def _live(self) -> None:
        life = self._life
        arrivals: dict[int, list[Happening]] = {}
        for minute, one in life.told:
            arrivals.setdefault(minute, []).append(one)
        starts = {one.starts for _, one in life.told}
        moments = {start - minutes for start in starts for both in REMINDERS.values() for minutes in both[:2]}
        last = max([*arrivals, *starts, life.away[1], 0]) + 3 * DAY
        for minute in sorted({*arrivals, *moments, life.away[1], last}):
            if minute < 0:
                continue
            is_away = life.away[0] <= minute < life.away[1]
            is_back = minute == life.away[1] > life.away[0]
            if not is_away and not is_back:  # so that only after an absence what is due and what arrives meet
                self._run_notify(minute, whole=False)
            self._run_intake(minute, arrivals.get(minute, ()))
            if not is_away:
                self._run_notify(minute, whole=is_back)

    def _run_intake(self, minute: int, happenings: Sequence[Happening]) -> None:
        for one in happenings:
            record = self._clinic.mapping.record(_event_of(one))
            self._intake.now_ms = _ms(minute)
            self._intake.append(record.topic, record.key, record.value)
        while (outputs := self._step(self._intake, minute, whole=False)) is not None:
            for output in outputs:
                if output.topic == REQUESTED:
                    self._notify.append(REQUESTED, output.key, output.value, output.headers)
                elif output.topic == DEAD_LETTERS:
                    self._letter(output, NOT_IN_FORCE)
        self._arrived += happenings

    def _run_notify(self, minute: int, *, whole: bool) -> None:
        self._seen.append((minute, self._arrived))
        self._arrived = []
        while (outputs := self._step(self._notify, minute, whole=whole)) is not None:
            self._take_in(outputs, minute)

    def _step(self, owner: Owner, minute: int, *, whole: bool) -> list[Output] | None:
        dice = self._dice
        crash = dice.choice(CRASHES) if self._life.crashes and dice.random() < CRASH_SHARE else Crash.NOWHERE
        return owner.step(_ms(minute), crash, 1000 if whole else dice.choice((1, 2, 5, 1000)))

    def _take_in(self, outputs: Sequence[Output], minute: int) -> None:
        world = self._clinic.world
        for output in outputs:
            if output.topic == DEAD_LETTERS:
                self._letter(output, set())
            elif output.topic == DECISIONS:
                decision = self._codec.decode(output.value).value
                if decision["outcome"] != "defer" and decision["notification_id"] in self._named:
                    self._final[decision["notification_id"]] += 1
            elif output.topic.startswith("deliver."):
                message = self._codec.decode(output.value).value
                named = self._named.get(message["notification_id"])
                if named is not None:
                    self._messages[named] += 1
                at = BEGINNING.astimezone(UTC) + timedelta(minutes=minute)
                receipt = world.status(message, "delivered", at)
                self._notify.append(STATUS, receipt.key, receipt.value, receipt.headers)

    def _letter(self, output: Output, allowed: set[str]) -> None:
        code = self._codec.decode(output.value).value["error_code"]
        if code not in allowed:
            self._faults.append(f"dead letter {code}")


def _ms(minute: int) -> int:
    return BEGINNING_MS + minute * MINUTE_MS


def _event_of(one: Happening) -> dict[str, Any]:
    fields: dict[str, Any] = {"event_id": one.event_id, "occurred_at": BEGINNING + timedelta(minutes=one.minute)}
    if one.kind in START_FIELDS:
        start, prefix = BEGINNING + timedelta(minutes=one.starts), START_FIELDS[one.kind]
        fields |= {f"{prefix}_date": start.date(), f"{prefix}_time": f"{start:%H:%M}", "time_zone": str(ZONE)}
    if one.kind == "confirmed":
        fields["confirmed_version"] = one.version if one.version % 2 else None
    name = f"a{one.appointment}"
    return event(f"appointment.{one.kind}", version=one.version, aggregate_id=name, appointment_id=name, **fields)
