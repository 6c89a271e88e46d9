"""The second hop: what is due is decided, rendered and handed to its channels; what is not due waits; receipts are kept.

Everything about one recipient lies in one partition and goes through here, one event after the other. Each event's outputs, what
is remembered of it and its place in the log change together, in the transaction that the batch is part of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from schemas.codec import Codec
from schemas.topics import DECISIONS, STATUS
from streams.alarms import Alarms
from streams.decisions import Conclusion, Decisions, concluded
from streams.digests import Digests, Item, closed_to, digest_type
from streams.joins import Joined, Joins
from streams.messages import Messages, told_about
from streams.notifications import Notifications
from streams.overdue import Overdue
from streams.pursuit import Pursuit
from streams.recalls import Recalls
from streams.requests import Asked, Requests
from streams.reservations import Reservations, Taken
from streams.rules.decision import OVERTAKEN, Defer, Deliver, Outcome, Suppress, Verdict, decide
from streams.rules.progress import Progress, groups_of
from streams.rules.reasons import Reason
from streams.runtime import Batch, DueTimer, Event, Record
from streams.waiting import DIGEST_DUE, FORGET_MARK, FORGET_STATE, Waited, Waiting, at_ms


class Notify:
    """The agent's work. ``counts``: what became of events since the process began."""

    def __init__(
        self,
        codec: Codec,
        requests: Requests,
        joins: Joins,
        messages: Messages,
        decisions: Decisions,
        digests: Digests,
    ) -> None:
        self._codec, self._requests, self._joins = codec, requests, joins
        self._messages, self._decisions, self._digests = messages, decisions, digests
        self._waiting, self._notifications, self._reservations = (
            Waiting(codec, requests.asking),
            Notifications(codec),
            Reservations(),
        )
        self.counts: Counter[str] = Counter()
        self._pursuit = Pursuit(
            requests,
            joins,
            messages,
            self._notifications,
            self._waiting,
            Overdue(codec),
            Recalls(codec),
            Alarms(codec, requests.companions),
            self._write,
            self.counts,
        )

    def work(self, batch: Batch) -> None:
        """One partition's batch, inside its transaction."""
        for record in batch.records:
            with batch.event(record) as event:
                if record.topic == STATUS:
                    self._receipt(event, record, batch)
                else:
                    self._request(event, record, batch)
        for timer in batch.due:
            with batch.event(timer) as event:
                self._fired(event, timer, batch)

    def _request(self, event: Event, record: Record, batch: Batch) -> None:
        """A request arrives: seen before? withdraws or settles what waits? overtaken itself? due?"""
        asked = self._requests.arrived(record)
        request = asked.request
        if self._notifications.is_known(event, request["notification_id"]):
            self.counts["duplicates"] += 1
            return
        if request["withdrawn_id"] is not None:
            self._cancel(event, request["withdrawn_id"], batch)
            return
        mark = self._waiting.mark_of(event, request)
        if request["withdraws"] != "none" or request["settled_version"] is not None:
            mark, withdrawn = self._waiting.withdraw(event, request, mark, batch.now_ms)
            for waited, reason in withdrawn:
                made = Conclusion("suppress", reason, OVERTAKEN[reason])
                self._conclude(event, self._again(event, waited), made, batch)
        if request["kind"] == "withdraw":
            return
        self._requests.terms(request)  # an unknown type is found out now, not when it is due
        overtaken = self._waiting.overtaken(mark, request)
        due_ms = self._joins.due_ms(request)
        if overtaken is not None or due_ms is None or due_ms <= batch.now_ms:
            self._decide(event, asked, overtaken, batch)
        elif (before_ms := self._joins.before_quiet(request, due_ms, batch.now_ms)) is not None:
            self._wait(event, asked, Reason.BEFORE_QUIET_HOURS, before_ms, (), batch)
        else:
            self._wait(event, asked, Reason.NOT_DUE, due_ms, (), batch)

    def _cancel(self, event: Event, notification_id: str, batch: Batch) -> None:
        """Somebody cancelled this one. What waits ends; what was decided is not sent again, and its gate is shut."""
        waited = self._waiting.withdraw_one(event, notification_id)
        if waited is None:
            self._notifications.cancel(event, notification_id)
        else:
            made = Conclusion("suppress", Reason.CANCELLED, OVERTAKEN[Reason.CANCELLED])
            self._conclude(event, self._again(event, waited), made, batch)

    def _fired(self, event: Event, timer: DueTimer, batch: Batch) -> None:
        """A timer is due. What was withdrawn meanwhile had its timer cancelled, so nothing is overtaken here."""
        kind = timer.timer_id[:1]
        if kind == FORGET_STATE:
            self._look_after(event, timer, batch)
        elif kind == FORGET_MARK:
            self._waiting.forget_mark(event, timer)
        elif kind == DIGEST_DUE:
            self._digest(event, timer, batch)
        else:
            self._decide(event, self._again(event, self._waiting.fired(event, timer)), None, batch)

    def _look_after(self, event: Event, timer: DueTimer, batch: Batch) -> None:
        """What was sent some time ago: something of it is to be done, or it has grown old."""
        taken = Taken.decoded(timer.payload, timer.due_ms)
        kept = self._notifications.kept_by(event, timer)
        if taken is None or kept is None or taken.forget_ms <= batch.now_ms:
            self._notifications.forget(event, timer, taken)
        else:
            self._pursuit.due(event, timer, kept, taken, batch)

    def _decide(self, event: Event, asked: Asked, overtaken: Reason | None, batch: Batch) -> None:
        """It is due: look up, decide, and do what was decided."""
        if asked.sequence and self._notifications.is_cancelled(event, asked.request["notification_id"]):
            overtaken = Reason.CANCELLED
        joined = self._joins.of(asked.request, overtaken, batch.now_ms)
        self._act(event, asked, joined, self._decided(event, asked, joined), batch)

    def _decided(self, event: Event, asked: Asked, joined: Joined) -> Outcome:
        """The decision, with what the state knows of the recipient."""
        given, request = joined.given, asked.request
        visit = self._requests.visit_of(request, joined.event)
        given.for_visit(self._waiting.visit(event, request["recipient"], visit))
        given.is_duplicate = self._reservations.is_duplicate(event, request, given.terms, joined.meaning, given.now_ms)
        given.tally = self._reservations.tally(event, request, given.terms, given.limits)
        return decide(given)

    def _act(self, event: Event, asked: Asked, joined: Joined, outcome: Outcome, batch: Batch) -> None:
        """Waits, is collected, is not sent; or its plan's first steps are rendered and sent."""
        given, request = joined.given, asked.request
        made = concluded(request, given, joined.clinic.policy["version"], outcome)
        if isinstance(outcome, Defer):
            wait = (event, request, asked.wire, outcome.until_ms, asked.sequence + 1, outcome.reason)
            if outcome.collects:
                self._waiting.collect(*wait, digest_type(given.terms))
            else:
                self._waiting.wait(*wait)
        if not isinstance(outcome, Deliver):
            self._conclude(event, asked, made, batch)
            return
        before = self._notifications.taken(event, request["notification_id"]) if asked.sequence else None
        attempt = 1 if before is None else before.attempt + 1
        groups = groups_of(outcome.steps)
        first = made.steps[: groups[0].size]
        about = told_about(request, joined, outcome.not_after_ms, attempt)
        for step, message in zip(first, self._messages.make(about, first), strict=True):
            step["template_version"], made.template_id = message.template_version, message.template_id
            event.produce(message.topic, asked.recipient, message.value, asked.headers)
        progress = Progress.begun(groups, [step["channel"] for step in first], batch.now_ms)
        taken = self._reservations.take(event, given, request, joined.meaning, attempt, progress, asked.wire)
        self._conclude(event, asked, made, batch, taken)

    def _digest(self, event: Event, timer: DueTimer, batch: Batch) -> None:
        """A digest is due: each of what was collected is decided again; what may be sent is told in one message.

        What cannot be handled is buried alone; where that is the digest itself, what it would have told is told singly.
        """
        parts: list[_Part] = []
        for collected in self._waiting.collected(event, timer):
            waited: Waited | None = None
            with event.part(collected):
                waited = self._waiting.taken_out(event, collected)
            if waited is not None:
                with event.part(collected):
                    asked = self._again(event, waited)
                    joined = self._joins.of(asked.request, None, batch.now_ms)
                    joined.given.digest_due = True
                    outcome = self._decided(event, asked, joined)
                    if isinstance(outcome, Deliver):
                        channels = frozenset(step.channel for step in outcome.steps)
                        title = self._messages.title(told_about(asked.request, joined, outcome.not_after_ms, 1))
                        parts.append(_Part(collected, Item(asked, channels, title), joined, outcome))
                    else:
                        self._act(event, asked, joined, outcome, batch)
        parts.sort(
            key=lambda part: (part.item.asked.request["occurred_at"], part.item.asked.request["notification_id"])
        )
        together = False
        if len(parts) > 1:
            with event.part(timer):
                together = self._tell_together(event, timer.payload.decode(), parts, batch)
        if not together:
            # One alone is no digest. What may not be told together is told singly: one in its place, the rest as caps allow.
            for number, part in enumerate(parts):
                with event.part(part.collected):
                    decided: Outcome = part.outcome
                    if number:
                        part.joined.given.told_singly = True
                        decided = self._decided(event, part.item.asked, part.joined)
                    self._act(event, part.item.asked, part.joined, decided, batch)

    def _tell_together(self, event: Event, digest: str, parts: Sequence[_Part], batch: Batch) -> bool:
        """In one message of that type. False: it may not be sent."""
        items = [part.item for part in parts]
        made = self._requests.made(self._digests.request(digest, items, parts[0].joined.key, at_ms(batch.now_ms)))
        whole = self._joins.of(made.request, None, batch.now_ms)
        whole.given.event_opt_outs = closed_to(items)
        # It is how one too many is told: held by the same cap, its parts would each be told singly, past it.
        whole.given.digest_due = True
        outcome = self._decided(event, made, whole)
        if not isinstance(outcome, Deliver):
            return False
        self._act(event, made, whole, outcome, batch)
        for part in parts:
            request, policy_version = part.item.asked.request, part.joined.clinic.policy["version"]
            told = concluded(
                request, part.joined.given, policy_version, Suppress(Reason.IN_DIGEST, part.outcome.verdicts)
            )
            told.digest_id = made.request["notification_id"]
            self._conclude(event, part.item.asked, told, batch)
        return True

    def _wait(
        self, event: Event, asked: Asked, reason: Reason, until_ms: int, verdicts: Sequence[Verdict], batch: Batch
    ) -> None:
        self._waiting.wait(event, asked.request, asked.wire, until_ms, asked.sequence + 1, reason)
        self._conclude(event, asked, Conclusion("defer", reason, verdicts, at_ms(until_ms)), batch)

    def _again(self, event: Event, waited: Waited) -> Asked:
        source = self._notifications.source_of(event, waited.notification_id)
        return self._requests.again(waited.wire, waited.sequence, source)

    def _conclude(self, event: Event, asked: Asked, made: Conclusion, batch: Batch, taken: Taken | None = None) -> None:
        """Writes the decision, and remembers it, and what its messages take up; those of an earlier decision still do."""
        self._write(event, asked, made, batch)
        if taken is None and asked.sequence:
            taken = self._notifications.taken(event, asked.request["notification_id"])
            if taken is not None:
                taken.close()
        self._notifications.remember(event, asked, made, at_ms(batch.now_ms), taken)

    def _write(self, event: Event, asked: Asked, made: Conclusion, batch: Batch) -> None:
        self.counts[made.outcome] += 1
        record = self._decisions.record(asked, made, at_ms(batch.now_ms))
        event.produce(DECISIONS, asked.recipient, record, asked.headers)

    def _receipt(self, event: Event, record: Record, batch: Batch) -> None:
        """A status: kept, and acted upon where it ends something, well or badly."""
        status = self._requests.status(record)
        noted = self._notifications.note_status(event, status, at_ms(batch.now_ms))
        self.counts["receipts" if noted else "receipts_unknown"] += 1
        if noted is None or not self._requests.moves(status):
            return
        taken = self._notifications.taken(event, status["notification_id"])
        if taken is not None:
            self._pursuit.told(event, record, noted, taken, status, batch)


class _Part(NamedTuple):
    """One of what a digest tells: as it was collected, and what was decided about it."""

    collected: DueTimer
    item: Item
    joined: Joined
    outcome: Deliver
