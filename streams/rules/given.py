"""Everything a decision is made from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from streams.rules.deadlines import Deadline
from streams.rules.limits import NO_LIMITS, NOTHING_SENT, Limits, Tally
from streams.rules.person import Person, Quiet
from streams.rules.reasons import Reason
from streams.rules.schedule import Visit
from streams.rules.terms import Channel, Terms


@dataclass(slots=True)
class Given:
    """One notification, its recipient, and the world at ``now_ms``. Times in ms since the epoch.

    ``overtaken``: what newer versions of its aggregate say. ``visit``: which appointment it is for, beside its own aggregate.
    ``blocked``, ``suppressed``: the gates on the recipient and on their addresses. ``disabled_*``: the clinic's policy.
    ``event_opt_outs``: channels that the event itself closes. ``zone``, ``clinic_quiet``: the clinic's. ``spread``: 0 to
    65535, drawn from the notification's id: where within the minutes after a window's end it is released. ``is_duplicate``:
    the same was told within the type's window. ``limits``: the clinic's; ``tally``: what the recipient was sent lately,
    without this one. ``deadlines``: what it must come in time for. ``digest_due``: it was collected, and its digest is due;
    ``told_singly``: which cannot be sent, and another of its parts has taken its place.
    """

    terms: Terms
    person: Person
    now_ms: int
    expires_at_ms: int | None = None
    overtaken: Reason | None = None
    visit: Visit | None = None
    blocked: bool = False
    suppressed: Collection[Channel] = ()
    disabled_types: Collection[str] = ()
    disabled_channels: Collection[Channel] = ()
    event_opt_outs: Collection[Channel] = ()
    zone: str = "UTC"
    clinic_quiet: Quiet | None = None
    spread: int = 0
    is_duplicate: bool = False
    limits: Limits = NO_LIMITS
    tally: Tally = NOTHING_SENT
    deadlines: tuple[Deadline, ...] = ()
    digest_due: bool = False
    told_singly: bool = False

    def for_visit(self, visit: Visit | None) -> None:
        """It is for this appointment; not sent where that was called off and does not stand again since. None: for none."""
        self.visit = visit
        if visit is not None and visit.mark.is_closed:
            self.overtaken = self.overtaken or Reason.CANCELLED
