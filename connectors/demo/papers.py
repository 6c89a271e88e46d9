"""Forms and consents for a made-up visit: announced with it or later, again where it moves, done or not. By the seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any

from connectors.demo.envelopes import Envelopes
from connectors.demo.script import Told

_ASKED, _AT_ONCE, _DONE = 0.35, 0.6, 0.5
_MINUTE_MS = 60_000
# Fields of each event that say when the visit is, once it is heard.
_SETS = {
    "appointment.created": ("appointment_date", "appointment_time"),
    "appointment.rescheduled": ("new_date", "new_time"),
}
# What asks, what says that it is done and in which field when, and what both say besides.
_KINDS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    (
        "forms.due",
        "forms.completed",
        "completed_at",
        {"form_names": ["Medical history"], "forms_url": "https://portal.luxe.example/f"},
    ),
    (
        "consent.due",
        "consent.signed",
        "signed_at",
        {"consent_type": "treatment", "consent_url": "https://portal.luxe.example/c"},
    ),
)


class Papers:
    """Puts them into stories of visits. ``make`` counts versions.

    What is asked for hears nothing of the visit: where it is called off, or comes back, no event says so of the paper; where it
    moves, the practice system announces the paper again, as docs/producers-guide.md asks of it.
    """

    def __init__(self, random: Random, make: Envelopes) -> None:
        self._random, self._make = random, make

    def beside(self, story: Iterable[Told]) -> Iterator[Told]:
        """The story as it is, and what is asked for the visit of it."""
        told = list(story)
        yield from told
        if self._random.random() < _ASKED:
            yield from self._paper(told)

    def _paper(self, story: list[Told]) -> Iterator[Told]:
        random, booked = self._random, story[0]
        asks, done, when, payload = random.choice(_KINDS)
        subject = booked.value["aggregate_id"].replace("apt-", f"{asks.partition('.')[0]}-for-", 1)
        about = payload | {
            "patient_id": booked.value["patient_id"],
            "appointment_id": booked.value["aggregate_id"],
            "time_zone": booked.value["time_zone"],
            "assignment_id": subject,
            "consent_request_id": subject,
        }
        begun_ms, ended_ms = booked.at_ms, story[-1].at_ms
        first_ms = begun_ms + _MINUTE_MS
        if random.random() >= _AT_ONCE:
            first_ms += int((ended_ms - begun_ms) * random.random())
        done_ms: int | None = None
        if random.random() < _DONE:
            done_ms = first_ms + int(max(ended_ms - first_ms, _MINUTE_MS) * random.random()) + _MINUTE_MS
        for number, change in enumerate(story):
            names = _SETS.get(change.event_type)
            if names is None:
                continue
            until_ms = next((one.at_ms for one in story[number + 1 :] if one.event_type in _SETS), None)
            at_ms = max(change.at_ms + _MINUTE_MS, first_ms)
            if (until_ms is None or at_ms < until_ms) and (done_ms is None or at_ms < done_ms):
                about |= {"appointment_date": change.value[names[0]], "appointment_time": change.value[names[1]]}
                yield self._told(asks, at_ms, subject, about)
        if done_ms is not None:
            yield self._told(done, done_ms, subject, about | {when: at(done_ms)})

    def _told(self, event_type: str, at_ms: int, subject: str, about: dict[str, Any]) -> Told:
        value = self._make.event(event_type, at(at_ms), subject, about)
        return Told(at_ms, event_type, value)


def at(at_ms: int) -> datetime:
    """The instant, to the second, as producers tell it."""
    return datetime.fromtimestamp(at_ms // 1000, UTC)
