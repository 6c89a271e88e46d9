"""The second hop under the virtual clock, for one partition's recipients: requests ► notify ► a provider ► statuses ► notify.

Nothing here decides: notify is the product's, on the data plane's own batches; the gates before a call are the sinks'. Time
passes from one thing that happens to the next: a request, a timer that is due, a call, a receipt.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cli.simulation.links import BASE_URL
from cli.simulation.lookers import Lookers
from cli.simulation.outcome import Outcome
from cli.simulation.parts import Alarm, Given, Placed
from cli.simulation.provider import Said, VirtualProvider
from cli.simulation.tables import Tables
from connectors.demo.script import Wished
from connectors.sealing import open_sealed
from connectors.statuses import delivery_status
from connectors.unsubscribing.links import Links
from schemas.topics import AGGREGATE_GATES, DEAD_LETTERS, DECISIONS, GATES, REQUESTED, STATUS
from sinks.runtime.gates import Gate
from streams.app import notify_on
from streams.catalog import Catalog
from streams.runtime import Output, Record
from streams.runtime.virtual import VirtualPartition

_MESSAGE = "luxe.pipeline.ChannelMessage"
_CONTENT = "luxe.pipeline.MessageContent"
_ACCEPTS = frozenset({"sent", "delivered", "read"})
_EMAIL_FROM = "care@luxe.example"


class SecondHop:
    """Notify, its providers and who looks on. ``script``: everything that happens, in the order of its times.

    Tables hold the partition's own recipients; events and wishes of others are told to those who look on, and no more.
    """

    def __init__(
        self,
        part: int,
        script: Sequence[Placed],
        tables: Tables,
        catalog: Catalog,
        provider: VirtualProvider,
        lookers: Lookers,
    ) -> None:
        self.part = part
        self._tables, self._catalog, self._provider = tables, catalog, provider
        self._lookers, self._onlookers = lookers, lookers.all
        codec = self._codec = tables.codec
        notify, letters = notify_on(
            codec,
            tables.ring,
            catalog,
            recipients=tables.recipients,
            policies=tables.policies,
            gates=tables.notify_gates,
            templates=tables.templates,
            links=Links(tables.ring, BASE_URL, unsubscribe_days=180),
            email_from=_EMAIL_FROM,
        )
        self._notify = VirtualPartition(notify.work, letters)
        self._encode_status = codec.encoder(STATUS, "luxe.pipeline.DeliveryStatus")
        self._happenings = iter(script)
        self._ahead = next(self._happenings, None)
        self._given: deque[Given] = deque()
        # (when, order, what): a message whose sink calls then, or a status that is heard then.
        self._coming: list[tuple[int, int, Mapping[str, Any], Said | None]] = []
        self._order = self._offset = 0
        self._now_ms = 0
        self._alarms: list[Alarm] = []

    @property
    def timers(self) -> int:
        """Timers that wait now."""
        return self._notify.timers

    def run(self, until_ms: int, given: Iterable[Given]) -> list[Alarm]:
        """Lets time pass to before ``until_ms``; ``given``: what the first hop gave out until then. The alarms that it raised."""
        self._given.extend(given)
        while (now_ms := self._next_ms()) is not None and now_ms < until_ms:
            self._now_ms = max(now_ms, self._now_ms)
            self._happened(self._now_ms)
            self._instant()
        self._happened(until_ms - 1)
        alarms, self._alarms = self._alarms, []
        return alarms

    def finish(self, now_ms: int) -> Outcome:
        """The simulation is over: what it came to here."""
        return self._lookers.finish(now_ms, self.timers)

    def _next_ms(self) -> int | None:
        next_ms = self._notify.earliest_ms
        if self._given and (next_ms is None or self._given[0].at_ms < next_ms):
            next_ms = self._given[0].at_ms
        if self._coming and (next_ms is None or self._coming[0][0] < next_ms):
            next_ms = self._coming[0][0]
        return next_ms

    def _happened(self, until_ms: int) -> None:
        """Tells what happened up to then. It changes nothing but tables: it may be told late, but before what comes after it."""
        while (placed := self._ahead) is not None and (ahead := placed.happening).at_ms <= until_ms:
            ours = placed.part == self.part
            if isinstance(ahead, Wished):
                if ours:
                    self._tables.put_person(ahead.cells, ahead.at_ms)
                for onlooker in self._onlookers:
                    onlooker.wished(ahead.cells, ahead.at_ms)
            elif ours:
                for onlooker in self._onlookers:
                    onlooker.event(ahead.event_type, ahead.value, ahead.at_ms)
            else:
                for onlooker in self._lookers.elsewhere:
                    onlooker.elsewhere(ahead.event_type, ahead.value, ahead.at_ms)
            self._ahead = next(self._happenings, None)

    def _instant(self) -> None:
        """Everything of one instant, until nothing of it is left."""
        while True:
            records: list[Record] = []
            while self._coming and self._coming[0][0] <= self._now_ms:
                _, _, message, said = heapq.heappop(self._coming)
                if said is None:
                    self._call(message)
                else:
                    records.append(self._status(message, said))
            if outputs := self._arrived():
                records += self._routed(outputs)
            timer_ms = self._notify.earliest_ms
            if not records and (timer_ms is None or timer_ms > self._now_ms):
                return
            self._routed(self._notify.run(records, self._now_ms))

    def _arrived(self) -> list[Output]:
        """What the first hop has given out by now."""
        outputs: list[Output] = []
        while self._given and self._given[0].at_ms <= self._now_ms:
            outputs += self._given.popleft().outputs
        return outputs

    # -- what happens ---------------------------------------------------------------------------------------------------

    def _call(self, message: Mapping[str, Any]) -> None:
        """The sink's part: the gates just before the call, the call, and what comes of it."""
        key = self._tables.key_of(message["recipient"], message["clinic_id"])
        plain = open_sealed(key, "ChannelMessage", message["delivery_id"], message["sealed"])
        content = self._codec.decode_content(_CONTENT, plain)
        digest = self._tables.ring.address_hash(message["channel"], content["to"])
        verdict = self._tables.gates.verdict(message, digest, at_utc(self._now_ms))
        if verdict is not None:
            self._expect(self._now_ms, message, Said(0, verdict.status, {"reason": verdict.reason}))
            return
        answers = self._provider.answer(message)
        accepted = answers[0].status in _ACCEPTS
        for onlooker in self._onlookers:
            onlooker.call(message, content, accepted, self._now_ms)
        for said in answers:
            self._expect(self._now_ms + said.after_ms, message, said)

    def _status(self, message: Mapping[str, Any], said: Said) -> Record:
        at = at_utc(self._now_ms)
        status = delivery_status(message, said.status, status_at=at, recorded_at=at, provider="virtual", **said.more)
        for onlooker in self._onlookers:
            onlooker.status(status, self._now_ms)
        return self._record(STATUS, message["recipient"].encode(), self._encode_status(status))

    # -- what comes of it -----------------------------------------------------------------------------------------------

    def _routed(self, outputs: Iterable[Output]) -> list[Record]:
        """Takes each output of either hop where it belongs; returns those that are notify's."""
        requests: list[Record] = []
        for output in outputs:
            topic = output.topic
            if topic == REQUESTED:
                requests.append(self._record(topic, output.key, output.value, output.headers or ()))
                value = self._codec.decode(output.value).value
                for onlooker in self._onlookers:
                    onlooker.request(value, self._now_ms)
            elif topic == DECISIONS:
                value = self._codec.decode(output.value).value
                for onlooker in self._onlookers:
                    onlooker.decision(value, self._now_ms)
            elif topic in (AGGREGATE_GATES, GATES):
                self._tables.gates.put((output.key or b"").decode(), Gate.of(self._codec.decode(output.value).value))
            elif topic == DEAD_LETTERS:
                value = self._codec.decode(output.value).value
                for onlooker in self._onlookers:
                    onlooker.letter(value, self._now_ms)
            elif topic.startswith("events."):
                self._alarm(Alarm(self._now_ms, topic, output.key or b"", output.value or b""))
            else:
                self._delivers(output)
        return requests

    def _alarm(self, alarm: Alarm) -> None:
        self._alarms.append(alarm)

    def _delivers(self, output: Output) -> None:
        decoded = self._codec.decode(output.value)
        if decoded.name != _MESSAGE:
            return  # a receipt is asked for, and the provider knows no more than it said
        message = decoded.value
        for onlooker in self._onlookers:
            onlooker.message(message, self._now_ms)
        self._expect(self._now_ms + self._provider.call_after_ms(message), message, None)

    def _expect(self, at_ms: int, message: Mapping[str, Any], said: Said | None) -> None:
        self._order += 1
        heapq.heappush(self._coming, (at_ms, self._order, message, said))

    def _record(
        self, topic: str, key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes | None], ...] = ()
    ) -> Record:
        self._offset += 1
        return Record(topic, 0, self._offset, key, value, self._now_ms, headers)


def at_utc(now_ms: int) -> datetime:
    """The instant."""
    return datetime.fromtimestamp(now_ms / 1000, UTC)
