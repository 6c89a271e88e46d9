"""A waitlist slot as a state machine: offered to one patient after the other, claimed by at most one. Pure.

    unannounced ─► open ─► offered ─► claimed
                    ▲ │       │
                    └─┼───────┘  declined, or the window's end
                      ├─► exhausted   nobody is left to ask
                      └─► expired     too late to ask
    any of them ─► withdrawn          the clinic took it back

Every function takes the slot as it is and gives the slot as it shall be, with what is to be told of the change. What was said
twice, late or out of order changes nothing, and says nothing. ``claimed``, ``expired`` and ``withdrawn`` are for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, TypeAlias

State = Literal["unannounced", "open", "offered", "claimed", "exhausted", "expired", "withdrawn"]
Standing = Literal["waiting", "offered", "claimed", "declined", "expired", "taken", "withdrawn", "skipped"]
Outcome = Literal["claimed", "declined", "expired", "taken", "withdrawn"]
Cause = Literal["nobody_left", "too_late"]

FINAL: frozenset[State] = frozenset({"claimed", "expired", "withdrawn"})
# An offer that gives less time than this to read a text and answer it is none; a shorter window is somebody's wish.
LEAST_OFFER = timedelta(minutes=5)


class Candidate(NamedTuple):
    """One patient of the list. ``reason``: why she was skipped."""

    patient_id: str
    standing: Standing = "waiting"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Slot:
    """How a slot stands. ``candidates``: the best first. ``due_at``: when somebody must look at it; None: it waits for nothing.

    ``holder``: whose offer it is, or whose slot. ``version``: the highest of its events, ours too. ``announced_version``: of the
    newest list (of a claimed slot: of a withdrawal told of, too); a list is compared with this one, since its practice system
    does not count what we say. ``window``: how long an offer stands. ``too_late``: it was first heard of so late that nobody is
    asked; people are told once it is due, if nobody has claimed it by then.
    """

    state: State = "unannounced"
    version: int = -1
    candidates: tuple[Candidate, ...] = field(default=(), repr=False)
    holder: str | None = field(default=None, repr=False)
    offer_number: int = 0
    offer_ends_at: datetime | None = None
    due_at: datetime | None = None
    starts_at: datetime | None = None
    window: timedelta = timedelta()
    announced_version: int = -1
    too_late: bool = False

    def standing(self, patient_id: str) -> Standing | None:
        """How a patient stands with it; None: she is not of the list."""
        return next((one.standing for one in self.candidates if one.patient_id == patient_id), None)

    @property
    def next_candidate(self) -> str | None:
        """Who is asked next; None where nobody may be: it is held, over, or nobody waits."""
        if self.state != "open":
            return None
        return next((one.patient_id for one in self.candidates if one.standing == "waiting"), None)

    @property
    def last_call(self) -> datetime | None:
        """Until when an offer still makes sense."""
        return None if self.starts_at is None else self.starts_at - min(self.window, LEAST_OFFER)


NOTHING_HEARD = Slot()


class OfferMade(NamedTuple):
    """It is this patient's turn."""

    patient_id: str
    number: int
    ends_at: datetime


class OfferEnded(NamedTuple):
    """It was this patient's turn."""

    patient_id: str
    number: int
    outcome: Outcome


class SlotClaimed(NamedTuple):
    """It is hers; said by us, not by the practice system."""

    patient_id: str


class SlotDeclined(NamedTuple):
    """She said no; to us, not to the practice system."""

    patient_id: str
    keep_on_waitlist: bool


class SlotUnfilled(NamedTuple):
    """Nobody is asked any more."""

    cause: Cause
    offers_made: int


class ClaimedTwice(NamedTuple):
    """The practice system gave it to somebody else than who has it: people must sort that out."""


class WithdrawnFromHolder(NamedTuple):
    """The clinic took back what somebody has claimed: she was told that it is hers, so people must tell her."""


Said: TypeAlias = (
    OfferMade | OfferEnded | SlotClaimed | SlotDeclined | SlotUnfilled | ClaimedTwice | WithdrawnFromHolder
)


class Step(NamedTuple):
    """The slot as it shall be, and what is to be told."""

    slot: Slot
    said: tuple[Said, ...] = ()


# What the practice system says


def announced(
    slot: Slot,
    patients: Iterable[str],
    starts_at: datetime,
    window: timedelta,
    version: int,
    now: datetime,
    *,
    changed: bool = False,
    too_late: bool = False,
) -> Step:
    """The list, or a newer one: who was asked stays so, who is new waits, who waited and is no longer listed goes.

    Whom the clinic named before its first list came goes before the others. ``changed``: it is another hour, or with somebody
    else, than was said; then an offer that stands is withdrawn, and whose it was is asked anew. ``too_late``: as of the slot.
    """
    listed = tuple(dict.fromkeys(patients))
    if not is_news(slot, version):
        return Step(replace(slot, version=max(slot.version, version)))
    said: tuple[Said, ...] = ()
    if slot.state == "offered" and slot.holder is not None and (changed or starts_at != slot.starts_at):
        said = (OfferEnded(slot.holder, slot.offer_number, "withdrawn"),)
        again: Standing = "waiting" if slot.holder in listed else "withdrawn"
        slot = _open_again(_stands(slot, slot.holder, again), now)
    named = () if slot.state != "unannounced" else tuple(one for one in slot.candidates if one.standing == "waiting")
    asked = tuple(one for one in slot.candidates if one.standing != "waiting")
    known = {one.patient_id for one in asked + named}
    waiting = named + tuple(Candidate(patient) for patient in listed if patient not in known)
    newer = replace(
        slot,
        candidates=asked + waiting,
        version=max(slot.version, version),
        announced_version=version,
        starts_at=starts_at,
        window=window,
        too_late=too_late,
    )
    if slot.state == "offered" or (slot.state == "exhausted" and not waiting):
        return Step(newer)
    return Step(replace(newer, state="open", due_at=now), said)


def is_news(slot: Slot, version: int) -> bool:
    """Whether a list of this version is taken."""
    return slot.state not in FINAL and version > slot.announced_version


def claimed_elsewhere(slot: Slot, patient_id: str, version: int) -> Step:
    """The practice system gave it to somebody; to whoever it was: it is a fact, and an offer that stands is over."""
    slot = replace(slot, version=max(slot.version, version))
    if slot.state == "claimed":
        return Step(slot, () if slot.holder == patient_id else (ClaimedTwice(),))
    if slot.state in FINAL:
        return Step(slot)
    said: tuple[Said, ...] = ()
    if slot.state == "offered" and slot.holder is not None:
        outcome: Outcome = "claimed" if slot.holder == patient_id else "taken"
        said = (OfferEnded(slot.holder, slot.offer_number, outcome),)
        slot = _stands(slot, slot.holder, outcome)
    slot = _stands(slot, patient_id, "claimed")
    return Step(replace(slot, state="claimed", holder=patient_id, offer_ends_at=None, due_at=None), said)


def declined_elsewhere(slot: Slot, patient_id: str, next_patient_id: str | None, version: int, now: datetime) -> Step:
    """Somebody told the practice system no. ``next_patient_id``: whom it wants asked next."""
    slot = replace(slot, version=max(slot.version, version))
    if slot.state in FINAL:
        return Step(slot)
    said: tuple[Said, ...] = ()
    if slot.state == "offered" and slot.holder == patient_id:
        said = (OfferEnded(patient_id, slot.offer_number, "declined"),)
        slot = _open_again(_stands(slot, patient_id, "declined"), now)
    elif slot.standing(patient_id) in (None, "waiting"):
        slot = _stands(slot, patient_id, "declined", add=True)
    if next_patient_id is not None:
        slot = _next(slot, next_patient_id, now)
    return Step(slot, said)


def withdrawn(slot: Slot, version: int) -> Step:
    """The clinic took it back; also before it was announced. What is claimed stays so, and people are told, once."""
    slot = replace(slot, version=max(slot.version, version))
    if slot.state == "claimed" and version > slot.announced_version:
        return Step(replace(slot, announced_version=version), (WithdrawnFromHolder(),))
    if slot.state in FINAL:
        return Step(slot)
    said: tuple[Said, ...] = ()
    if slot.state == "offered" and slot.holder is not None:
        said = (OfferEnded(slot.holder, slot.offer_number, "withdrawn"),)
        slot = _stands(slot, slot.holder, "withdrawn")
    return Step(replace(slot, state="withdrawn", holder=None, offer_ends_at=None, due_at=None), said)


# What a patient says

Answer = Literal["claimed", "declined", "taken", "over", "not_yours"]


class Answered(NamedTuple):
    """What she is told: it is hers (also when she asks again), she is out of it, somebody else has it, her time is over, or it
    is not her turn."""

    answer: Answer
    step: Step


def claim(slot: Slot, patient_id: str, now: datetime) -> Answered:
    """She wants it. Only whose turn it is gets it, and only before the window's end, whoever has noticed that yet."""
    if not _is_her_turn(slot, patient_id, now):
        return Answered(_answer(slot, patient_id), Step(slot))
    said = (OfferEnded(patient_id, slot.offer_number, "claimed"), SlotClaimed(patient_id))
    slot = _stands(slot, patient_id, "claimed")
    return Answered(
        "claimed",
        Step(replace(slot, state="claimed", version=slot.version + 1, offer_ends_at=None, due_at=None), said),
    )


def decline(slot: Slot, patient_id: str, keep_on_waitlist: bool, now: datetime) -> Answered:
    """She does not want it: the next one's turn comes at once."""
    if not _is_her_turn(slot, patient_id, now):
        return Answered(_answer(slot, patient_id), Step(slot))
    said = (OfferEnded(patient_id, slot.offer_number, "declined"), SlotDeclined(patient_id, keep_on_waitlist))
    slot = _open_again(_stands(slot, patient_id, "declined"), now)
    return Answered("declined", Step(replace(slot, version=slot.version + 1), said))


def told(slot: Slot, patient_id: str, now: datetime) -> Answer | Literal["offered"]:
    """What she would be told who claimed it now; ``offered`` where it would become hers."""
    return "offered" if _is_her_turn(slot, patient_id, now) else _answer(slot, patient_id)


def _is_her_turn(slot: Slot, patient_id: str, now: datetime) -> bool:
    ends_at = slot.offer_ends_at
    return slot.state == "offered" and slot.holder == patient_id and ends_at is not None and now < ends_at


def _answer(slot: Slot, patient_id: str) -> Answer:
    if slot.state == "claimed":
        return "claimed" if slot.holder == patient_id else "taken"
    standing = slot.standing(patient_id)
    if standing == "declined":
        return "declined"
    return "not_yours" if standing in (None, "waiting", "skipped") else "over"


def left(slot: Slot, patient_id: str, now: datetime) -> Step:
    """She is nobody's patient any more: she is not asked, and an offer of hers is withdrawn. What she claimed stays claimed."""
    if slot.state == "offered" and slot.holder == patient_id:
        said = (OfferEnded(patient_id, slot.offer_number, "withdrawn"),)
        return Step(_open_again(_stands(slot, patient_id, "withdrawn"), now), said)
    if slot.standing(patient_id) == "waiting":
        return Step(_stands(slot, patient_id, "withdrawn"))
    return Step(slot)


# What time and the coordinator say


def lapsed(slot: Slot, now: datetime) -> Step:
    """The window's end; and the time after which nobody is asked any more."""
    said: tuple[Said, ...] = ()
    if slot.state == "offered" and slot.holder is not None and slot.offer_ends_at is not None:
        if now < slot.offer_ends_at:
            return Step(slot)
        said = (OfferEnded(slot.holder, slot.offer_number, "expired"),)
        slot = _open_again(_stands(slot, slot.holder, "expired"), now)
    if slot.state == "open" and (slot.too_late or (slot.last_call is not None and now > slot.last_call)):
        over = _unfilled(replace(slot, state="expired", due_at=None), "too_late")
        return Step(over.slot, said + over.said)
    return Step(slot, said)


def offered(slot: Slot, patient_id: str, now: datetime) -> Step:
    """It is her turn from now on. Raises ValueError for anybody but the next candidate."""
    if slot.next_candidate != patient_id or slot.starts_at is None:
        raise ValueError(f"a slot that is {slot.state} is offered to nobody but its next candidate")
    ends_at = min(now + slot.window, slot.starts_at)
    number = slot.offer_number + 1
    slot = replace(
        _stands(slot, patient_id, "offered"),
        state="offered",
        holder=patient_id,
        offer_number=number,
        offer_ends_at=ends_at,
        due_at=ends_at,
    )
    return Step(slot, (OfferMade(patient_id, number, ends_at),))


def skipped(slot: Slot, patient_id: str, reason: str) -> Step:
    """The next candidate cannot be asked. ``reason``: one of the rules' words."""
    return Step(_stands(slot, patient_id, "skipped", reason=reason))


def held(slot: Slot, until: datetime) -> Step:
    """Nobody is asked before then: the next candidate sleeps."""
    return Step(replace(slot, due_at=until))


def exhausted(slot: Slot) -> Step:
    """Nobody is left to ask. Raises ValueError where somebody is."""
    if slot.state != "open" or slot.next_candidate is not None:
        raise ValueError(f"a slot that is {slot.state} has somebody left to ask")
    return _unfilled(replace(slot, state="exhausted", due_at=None), "nobody_left")


def _unfilled(slot: Slot, cause: Cause) -> Step:
    """It counts as its other events do: a practice system's next list may bear the version that our last word had."""
    return Step(replace(slot, version=slot.version + 1), (SlotUnfilled(cause, slot.offer_number),))


def _open_again(slot: Slot, now: datetime) -> Slot:
    return replace(slot, state="open", holder=None, offer_ends_at=None, due_at=now)


def _stands(slot: Slot, patient_id: str, standing: Standing, *, reason: str = "", add: bool = False) -> Slot:
    """A candidate's new standing. ``add``: who is not of the list is put on it."""

    def changed(one: Candidate) -> Candidate:
        return Candidate(patient_id, standing, reason) if one.patient_id == patient_id else one

    candidates = _each(slot.candidates, changed)
    if add and slot.standing(patient_id) is None:
        candidates += (Candidate(patient_id, standing, reason),)
    return replace(slot, candidates=candidates)


def _each(candidates: tuple[Candidate, ...], change: Callable[[Candidate], Candidate]) -> tuple[Candidate, ...]:
    return tuple(change(one) for one in candidates)


def _next(slot: Slot, patient_id: str, now: datetime) -> Slot:
    """Whom the clinic wants asked next goes before the others, unless she was asked."""
    if slot.standing(patient_id) not in (None, "waiting"):
        return slot
    others = [one for one in slot.candidates if one.patient_id != patient_id]
    place = next((number for number, one in enumerate(others) if one.standing == "waiting"), len(others))
    slot = replace(slot, candidates=(*others[:place], Candidate(patient_id), *others[place:]))
    return replace(slot, state="open", due_at=now) if slot.state in ("open", "exhausted") else slot
