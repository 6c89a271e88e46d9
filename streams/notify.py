"""The second hop: what is due is decided, rendered and handed to its channels; what is not due waits; receipts are kept.

Everything about one recipient lies in one partition and goes through here, one event after the other. Each event's outputs, what
is remembered of it and its place in the log change together, in the transaction that the batch is part of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from schemas.codec import Codec
from schemas.topics import DECISIONS, STATUS
from streams.decisions import Conclusion, Decisions, plan_steps
from streams.joins import Joins
from streams.messages import Messages, Told
from streams.notifications import Notifications
from streams.requests import Asked, Requests
from streams.rules.decision import OVERTAKEN, Defer, Suppress, Verdict, decide
from streams.rules.plan import sent_at_once
from streams.rules.reasons import Reason
from streams.runtime import Batch, DueTimer, Event, Record
from streams.waiting import FORGET_MARK, FORGET_STATE, Waited, Waiting, at_ms, ms_of


class Notify:
    """The agent's work. ``counts``: what became of events since the process began."""

    def __init__(
        self, codec: Codec, requests: Requests, joins: Joins, messages: Messages, decisions: Decisions
    ) -> None:
        self._codec, self._requests, self._joins = codec, requests, joins
        self._messages, self._decisions = messages, decisions
        self._waiting, self._notifications = Waiting(codec), Notifications(codec)
        self.counts: Counter[str] = Counter()

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
        """A request arrives: seen before? withdraws what waits? overtaken itself? due?"""
        asked = self._requests.arrived(record)
        request = asked.request
        if self._notifications.is_known(event, request["notification_id"]):
            self.counts["duplicates"] += 1
            return
        mark = self._waiting.mark_of(event, request)
        if request["withdraws"] != "none":
            mark, withdrawn = self._waiting.withdraw(event, request, mark, batch.now_ms)
            for waited, reason in withdrawn:
                made = Conclusion("suppress", reason, OVERTAKEN[reason])
                self._conclude(event, self._again(event, waited), made, batch)
        if request["kind"] == "withdraw":
            return
        self._requests.terms(request)  # an unknown type is found out now, not when it is due
        overtaken = self._waiting.overtaken(mark, request)
        due_at = request["due_at"]
        if overtaken is None and due_at is not None and ms_of(due_at) > batch.now_ms:
            self._wait(event, asked, Reason.NOT_DUE, ms_of(due_at), (), batch)
        else:
            self._decide(event, asked, overtaken, batch)

    def _fired(self, event: Event, timer: DueTimer, batch: Batch) -> None:
        """A timer is due. What was withdrawn meanwhile had its timer cancelled, so nothing is overtaken here."""
        kind = timer.timer_id[:1]
        if kind == FORGET_STATE:
            self._notifications.forget(event, timer)
        elif kind == FORGET_MARK:
            self._waiting.forget_mark(event, timer)
        else:
            self._decide(event, self._again(event, self._waiting.fired(event, timer)), None, batch)

    def _decide(self, event: Event, asked: Asked, overtaken: Reason | None, batch: Batch) -> None:
        """It is due: look up, decide, render the plan's first steps, send."""
        given, told, clinic, key = self._joins.of(asked.request, overtaken, batch.now_ms)
        outcome = decide(given)
        if isinstance(outcome, Defer):
            self._wait(event, asked, outcome.reason, outcome.until_ms, outcome.verdicts, batch)
            return
        versions = (given.person.version, clinic.policy["version"])
        if isinstance(outcome, Suppress):
            made = Conclusion("suppress", outcome.reason, outcome.verdicts, None, [], *versions)
            self._conclude(event, asked, made, batch)
            return
        steps = plan_steps(asked.request, outcome.steps)
        made = Conclusion("deliver", Reason.DELIVER, outcome.verdicts, None, steps, *versions)
        first = steps[: sent_at_once(outcome.steps)]
        about = Told(asked.request, told, given.person, clinic, key, at_ms(batch.now_ms), outcome.not_after_ms)
        for step, message in zip(first, self._messages.make(about, first), strict=True):
            step["template_version"], made.template_id = message.template_version, message.template_id
            event.produce(message.topic, asked.recipient, message.value, asked.headers)
        self._conclude(event, asked, made, batch)

    def _wait(
        self, event: Event, asked: Asked, reason: Reason, until_ms: int, verdicts: Sequence[Verdict], batch: Batch
    ) -> None:
        self._waiting.wait(event, asked.request, asked.wire, until_ms, asked.sequence + 1, reason)
        self._conclude(event, asked, Conclusion("defer", reason, verdicts, at_ms(until_ms)), batch)

    def _again(self, event: Event, waited: Waited) -> Asked:
        source = self._notifications.source_of(event, waited.notification_id)
        return self._requests.again(waited.wire, waited.sequence, source)

    def _conclude(self, event: Event, asked: Asked, made: Conclusion, batch: Batch) -> None:
        """Writes the decision, and remembers it."""
        self.counts[made.outcome] += 1
        now = at_ms(batch.now_ms)
        event.produce(DECISIONS, asked.recipient, self._decisions.record(asked, made, now), asked.headers)
        self._notifications.remember(event, asked, made, now)

    def _receipt(self, event: Event, record: Record, batch: Batch) -> None:
        status = self._requests.status(record)
        known = self._notifications.note_status(event, status, at_ms(batch.now_ms))
        self.counts["receipts" if known else "receipts_unknown"] += 1
