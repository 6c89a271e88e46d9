"""A notification that was sent is pursued until it arrives or nothing is left to try: retries, next channels, overdue receipts.

Every further attempt is a decision of its own, by the rules as they stand then and for its channel alone, so that nothing is
sent again past an opt-out, a cancellation or the beginning of quiet hours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

from streams.alarms import Alarms
from streams.decisions import Conclusion, concluded, plan_steps
from streams.digests import OF_DIGESTS
from streams.joins import Joined, Joins, spread_of
from streams.messages import Messages, told_about
from streams.notifications import Noted, Notifications, source_of
from streams.overdue import Overdue
from streams.recalls import Recalls
from streams.render.ceilings import TemplateError
from streams.requests import Asked, Requests
from streams.reservations import Reservations, Taken
from streams.rules.decision import Defer, Deliver, Outcome, decide
from streams.rules.plan import sent_at_once
from streams.rules.progress import CAN_BE_ASKED, RECEIPT_TIMEOUT_MS, Progress, groups_of
from streams.rules.reasons import Reason
from streams.rules.retrying import is_sender_refused, retry_ms
from streams.rules.status import ARRIVED, FAILED, SETTLING, WITHOUT_SUCCESS, new_step
from streams.rules.terms import Channel, LaterStep, rest_of
from streams.runtime import Batch, DueTimer, Event, PoisonError, Record
from streams.waiting import Waiting, at_ms, ms_of

Write = Callable[[Event, Asked, Conclusion, Batch], None]
# A digest says what its items were when it was made; what was cancelled or refused since is still in it. So long it may be tried.
DIGEST_FRESH_MS = 15 * 60 * 1000
# After these no other channel is tried either.
_FINAL = frozenset({Reason.SUPERSEDED, Reason.CANCELLED, Reason.ALREADY_DONE, Reason.RECIPIENT_BLOCKED})


class PlanExhausted(PoisonError):
    """No channel of the plan reached the recipient."""

    code = "plan_exhausted"

    def __init__(self, channels: str) -> None:
        super().__init__(
            f"every channel of its plan failed ({channels}); tell the recipient otherwise, correct their numbers and addresses"
        )


class Pursuit:
    """See the module. ``write``: enters a decision in the log."""

    def __init__(
        self,
        requests: Requests,
        joins: Joins,
        messages: Messages,
        notifications: Notifications,
        waiting: Waiting,
        overdue: Overdue,
        recalls: Recalls,
        alarms: Alarms,
        write: Write,
        counts: Counter[str],
    ) -> None:
        self.requests, self.joins, self.messages = requests, joins, messages
        self.waiting, self.overdue, self.recalls = waiting, overdue, recalls
        self.write, self.counts = write, counts
        self.notifications, self._alarms = notifications, alarms

    def told(
        self, event: Event, record: Record, noted: Noted, taken: Taken, status: Mapping[str, Any], batch: Batch
    ) -> None:
        """A status changed one of its steps."""
        progress = taken.progress
        if progress is not None and noted.changed:
            work = _Pursued(self, event, noted.kept, taken, progress, batch)
            # Most receipts are good news: nothing is rendered for them, so the request need not be read.
            good = status["status"] in ARRIVED
            self._carry(
                event, record if good else work.request_record or record, work, lambda: work.told(noted, status)
            )
        self._settle(event, noted.kept, taken)

    def due(self, event: Event, timer: DueTimer, kept: dict[str, Any], taken: Taken, batch: Batch) -> None:
        """Its timer is due: something is to be tried again, has waited long enough, or is to be asked for."""
        progress = taken.progress
        if progress is not None:
            work = _Pursued(self, event, kept, taken, progress, batch)
            for act in work.due():
                if not work.is_closed:  # by what came before it
                    self._carry(event, work.request_record or timer, work, act)
        self._settle(event, kept, taken)

    def _carry(self, event: Event, subject: Record | DueTimer, work: _Pursued, act: Callable[[], None]) -> None:
        """What cannot be done is buried, and then nothing more is tried; a channel without a text is buried and passed over."""
        before, done = dict(work.kept), False
        with event.part(subject):
            act()
            done = True
        if not done:
            work.kept.clear()
            work.kept.update(before)
            work.close()
        for error in work.unsaid:
            _bury(event, work.request_record or subject, error)
        work.unsaid.clear()
        if work.is_changed:
            self.notifications.carry_on(event, work.kept, at_ms(work.batch.now_ms))
        if work.exhausted is not None:
            self._counts_exhausted(event, subject, work, work.exhausted)

    def _counts_exhausted(self, event: Event, subject: Record | DueTimer, work: _Pursued, asked: Asked) -> None:
        self.counts["exhausted"] += 1
        if not self._alarms.concerns(asked.request):
            return
        subject = work.request_record or subject
        channels = ", ".join(f"{step['channel']}: {step['status']}" for step in work.kept["steps"])
        _bury(event, subject, PlanExhausted(channels))
        self._alarms.plan_exhausted(event, asked.request, work.batch.partition, at_ms(work.batch.now_ms))

    def _settle(self, event: Event, kept: dict[str, Any], taken: Taken) -> None:
        Reservations.settle(event, taken, kept["steps"])
        self.notifications.keep(event, kept["notification_id"], taken)


class _Pursued:
    """One notification in hand. ``kept``: its state, changed in place; ``exhausted``: set when no channel is left.

    ``unsaid``: why channels were passed over that could not be written for.
    """

    def __init__(
        self, tools: Pursuit, event: Event, kept: dict[str, Any], taken: Taken, progress: Progress, batch: Batch
    ) -> None:
        self.event, self.kept, self.batch = event, kept, batch
        self._tools, self._taken, self._progress = tools, taken, progress
        self.is_changed = False
        self.exhausted: Asked | None = None
        self.unsaid: list[TemplateError] = []

    @cached_property
    def _read(self) -> Asked:
        return self._tools.requests.again(self._taken.wire, self.kept["sequence"], source_of(self.kept))

    @property
    def _asked(self) -> Asked:
        """The request, at its present place in the sequence of decisions."""
        return self._read._replace(sequence=self.kept["sequence"])

    @property
    def request_record(self) -> Record | None:
        """The request as it lay in its topic: what a dead letter is to hold. None: it was one of our own."""
        asked = self._read
        topic, partition, offset = asked.source
        if offset < 0:
            return None
        return Record(topic, partition, offset, asked.recipient, asked.wire, self.batch.now_ms, asked.headers)

    def close(self) -> None:
        """Nothing more is done about it; steps that were not taken were no part of what became of it."""
        self.kept["steps"] = self.kept["steps"][: self._progress.end]
        self._taken.close()
        self.is_changed = True

    # -- what happened ------------------------------------------------------------------------------------------------

    def told(self, noted: Noted, status: Mapping[str, Any]) -> None:
        """A step's status changed."""
        progress, steps = self._progress, self.kept["steps"]
        if progress.has_next and progress.reached(steps):
            # It is with them: no other channel is needed. What was to go out beside it still goes out.
            progress.ends_here()
            self.kept["steps"] = steps[: progress.end]
            self.is_changed = True
        number, step = noted.number, noted.after
        if step["status"] in ARRIVED and noted.before["status"] not in ARRIVED and progress.reached(steps):
            # What the next channel has not sent yet need not be sent any more.
            recalled = self._tools.recalls.recall(self.event, progress.needless(steps), at_ms(self.batch.now_ms))
            self._tools.counts["recalled"] += recalled
        if step["status"] in ARRIVED:
            progress.retries.pop(number, None)  # it had failed, and came after all
        late = (status["status"], status["reason"]) == ("expired", "send_not_after")
        if number < progress.start or number >= progress.end:
            # Late word of a channel that was given up: it is kept, and no more, but where it was the last hope.
            if not progress.has_next:
                self._look_whether_over()
            return
        if late:
            # Quiet hours began before the call. Decided anew, it waits for their end; that is no failure.
            progress.retries[number] = self.batch.now_ms
            self._try_again(number)
            return
        if step["status"] in FAILED and not _had_failed(noted):
            self._failed(number, status)
        self._look_whether_over()

    def _failed(self, number: int, status: Mapping[str, Any]) -> None:
        progress, request, now_ms = self._progress, self._asked.request, self.batch.now_ms
        failures = progress.failures[number] = progress.failures.get(number, 0) + (not is_sender_refused(status))
        spread = spread_of(request["notification_id"])
        retry = retry_ms(status, request["lane"], failures, now_ms, spread, is_last=not progress.has_next)
        expires_at = request["expires_at"]
        if retry is None or (expires_at is not None and retry >= ms_of(expires_at)):
            return
        progress.retries[number] = retry
        self._write(Conclusion("defer", Reason.RETRY, until=at_ms(retry)))

    def due(self) -> list[Callable[[], None]]:
        """What the time has come for, each to be done for itself."""
        progress, now_ms = self._progress, self.batch.now_ms
        acts: list[Callable[[], None]] = [partial(self._try_again, number) for number in progress.due_retries(now_ms)]
        if progress.deadline_ms and progress.deadline_ms <= now_ms:
            acts.append(self._too_long)
        if progress.ask_ms and progress.ask_ms <= now_ms:
            acts.append(self._ask)
        if progress.watched_ms <= now_ms:
            acts.append(self.close)
        return acts

    @property
    def is_closed(self) -> bool:
        """Is nothing more done about it?"""
        return self._taken.progress is None

    def _too_long(self) -> None:
        if self._progress.deadline_ms <= self.batch.now_ms:  # and not tried again a moment ago
            self._progress.deadline_ms = 0
            self._advance()

    def _ask(self) -> None:
        """What became of it? Once: whoever does not know it by then never will. What has not left yet is asked for later."""
        progress = self._progress
        steps = self.kept["steps"][: progress.end]
        waits = any(one["channel"] in CAN_BE_ASKED and one["status"] in ("", "queued", "sending") for one in steps)
        progress.ask_ms = self.batch.now_ms + RECEIPT_TIMEOUT_MS if waits else 0
        self._tools.overdue.ask(self.event, self._asked.request, steps, at_ms(self.batch.now_ms))

    # -- what is done about it ----------------------------------------------------------------------------------------

    def _look_whether_over(self) -> None:
        progress, steps = self._progress, self.kept["steps"]
        if progress.reached(steps):
            if not progress.retries and all(
                step["status"] in SETTLING for step in steps[progress.start : progress.end]
            ):
                self.close()
        elif progress.is_over(steps) and not progress.held:
            if progress.is_withdrawn(steps):
                self.close()
            elif progress.has_next:
                self._advance()
            else:
                self._exhausted()

    def _try_again(self, number: int) -> None:
        progress, step = self._progress, self.kept["steps"][number]
        if number not in progress.retries:
            return  # given up for the next channel a moment ago
        channel = step["channel"]
        joined, outcome = self._decide((LaterStep(channel, "delivered", 0),))
        made = self._concluded(joined, outcome)
        if isinstance(outcome, Deliver):
            attempt = step["attempt"] + 1
            if number in progress.failures:
                made.reason = Reason.TRIED_AGAIN
            made.steps[0] |= {"step": number, "delivery_id": step["delivery_id"]}
            self._hand_over(joined, outcome, made, 1, attempt)
            self.kept["steps"] = list(self.kept["steps"])
            self.kept["steps"][number] = new_step(step["step"], channel, step["delivery_id"], attempt)
            self._taken.attempt = max(self._taken.attempt, attempt)
            progress.resent(number, channel, self.batch.now_ms)
        elif isinstance(outcome, Defer):
            progress.put_off(number, outcome.until_ms)
        else:
            del progress.retries[number]
        self._write(made)
        if made.outcome == "suppress":
            if made.reason in _FINAL:
                self.close()
            else:
                self._look_whether_over()

    def _advance(self) -> None:
        """To the next channel, if one is left and open."""
        progress, steps = self._progress, self.kept["steps"]
        rest = progress.rest(steps)
        if not rest:
            self._exhausted()
            return
        joined, outcome = self._decide(rest)
        made = self._concluded(joined, outcome)
        base = progress.end
        if isinstance(outcome, Deliver):
            made.reason, attempt = Reason.NEXT_CHANNEL, steps[base]["attempt"]
            made.steps = plan_steps(self._asked.request, outcome.steps, base)
            first = sent_at_once(outcome.steps)
            try:
                self._hand_over(joined, outcome, made, first, attempt)
            except TemplateError as error:
                self._pass_over(outcome.steps[0].channel, error)
                self._advance()
                return
            planned = [new_step(one["step"], one["channel"], one["delivery_id"], attempt) for one in made.steps]
            self.kept["steps"] = [*steps[:base], *planned]
            channels = [one.channel for one in outcome.steps[:first]]
            progress.advanced(groups_of(outcome.steps), channels, self.batch.now_ms)
        elif isinstance(outcome, Defer):
            progress.hold(outcome.until_ms)
        else:
            self._no_other_channel(made, base)
            return
        self._write(made)

    def _pass_over(self, channel: Channel, error: TemplateError) -> None:
        """There is no text for this channel of the rest, or none that can be sent: that is told, and the one after is tried."""
        steps, end = self.kept["steps"], self._progress.end
        number = next(number for number in range(end, len(steps)) if steps[number]["channel"] == channel)
        self._progress.leave_out(number)
        self.kept["steps"] = [*steps[:number], *steps[number + 1 :]]
        self.is_changed = True
        self.unsaid.append(error)

    def _no_other_channel(self, made: Conclusion, taken: int) -> None:
        """The rules leave none, or it is not to be sent at all any more. ``taken``: how many steps were."""
        failed = any(step["status"] in FAILED for step in self.kept["steps"])
        if made.reason in _FINAL or not failed:
            self._write(made)  # else it failed, and no decision of ours makes something else of that
        if made.reason in _FINAL:
            self.close()
            return
        self._progress.ends_here()
        self.kept["steps"] = self.kept["steps"][:taken]
        self.is_changed = True
        self._exhausted()

    def _exhausted(self) -> None:
        """No channel is left. Something sent before may still arrive; where nothing can, it is over."""
        steps = self.kept["steps"][: self._progress.end]
        if self._progress.retries or not all(step["status"] in SETTLING for step in steps):
            return
        if any(step["status"] in FAILED for step in steps) and all(step["status"] in WITHOUT_SUCCESS for step in steps):
            self.exhausted = self._asked
        self.close()

    def _decide(self, later: tuple[LaterStep, ...]) -> tuple[Joined, Outcome]:
        """By every rule, for these channels alone. What it took up already counts for others, not against it."""
        tools, event, request = self._tools, self.event, self._asked.request
        requested_ms = ms_of(request["requested_at"])
        if tools.notifications.is_cancelled(event, request["notification_id"]):
            overtaken: Reason | None = Reason.CANCELLED
        elif request["aggregate_type"] == OF_DIGESTS and self.batch.now_ms - requested_ms > DIGEST_FRESH_MS:
            overtaken = Reason.EXPIRED
        else:
            overtaken = tools.waiting.overtaken(tools.waiting.mark_of(event, request), request)
        joined = tools.joins.of(request, overtaken, self.batch.now_ms)
        given = joined.given
        visit = tools.requests.visit_of(request, joined.event)
        given.for_visit(tools.waiting.visit(event, request["recipient"], visit))
        given.terms = rest_of(given.terms, later)
        given.tally = Reservations.tally(event, request, given.terms, given.limits)
        given.digest_due = True  # what was told singly is not collected in the midst of it
        return joined, decide(given)

    def _concluded(self, joined: Joined, outcome: Outcome) -> Conclusion:
        return concluded(self._asked.request, joined.given, joined.clinic.policy["version"], outcome)

    def _hand_over(self, joined: Joined, outcome: Deliver, made: Conclusion, first: int, attempt: int) -> None:
        asked, steps = self._asked, made.steps[:first]
        about = told_about(asked.request, joined, outcome.not_after_ms, attempt)
        for step, message in zip(steps, self._tools.messages.make(about, steps), strict=True):
            step["template_version"], made.template_id = message.template_version, message.template_id
            self.event.produce(message.topic, asked.recipient, message.value, asked.headers)

    def _write(self, made: Conclusion) -> None:
        self._tools.write(self.event, self._asked, made, self.batch)
        self.kept["sequence"] += 1
        self.is_changed = True


def _bury(event: Event, subject: Record | DueTimer, error: Exception) -> None:
    """Nothing went wrong in handling it, so the rest of the event stands."""
    with event.part(subject):
        raise error


def _had_failed(noted: Noted) -> bool:
    """Was this attempt known to have failed before? Then it is no second failure."""
    return noted.before["attempt"] == noted.after["attempt"] and noted.before["status"] in FAILED
