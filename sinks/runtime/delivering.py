"""One message's way: opened, begun in the ledger, looked up in the gates, called, its end written down and told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NoReturn

import psycopg

from connectors.postgres import devices
from connectors.providers.outcome import Accepted, OutcomeUnknown, Refused
from connectors.sealing import KeyRingError
from connectors.suppressing import DeadAddress, reason_of, suppress
from connectors.unsubscribing.at_providers import SenderClass
from schemas.codec import CodecError, Decoded, LaterSchemaError
from schemas.registry import RegistryUnavailableError
from sinks.runtime.attempts import Begun, Ended, Leased
from sinks.runtime.call_ends import Tries
from sinks.runtime.counted import CallResult
from sinks.runtime.gates import LaterGateError, Verdict
from sinks.runtime.in_flight import Taken
from sinks.runtime.opening import REGISTRY_RETRY_SECONDS, Opening
from sinks.runtime.outcome import Outcome
from sinks.runtime.overdue import RECORD as QUERY
from sinks.runtime.patience import patiently, wait_aside
from sinks.runtime.permit import Permit
from sinks.runtime.poison import PoisonError
from sinks.runtime.statuses import DeliveryLife
from sinks.runtime.tools import Tools
from sinks.runtime.verdicts import Verdicts

log = logging.getLogger(__name__)

RECORD = "luxe.pipeline.ChannelMessage"
# An unknown outcome is resolved by asking, then, for essential messages, by one more call: a second doubt is left standing.
MAX_UNANSWERED = 2
# At the process' end; without Postgres it ends all the same, and the lease with it.
RELEASE_SECONDS = 2.0

Message = Mapping[str, Any]


class Postponed(Exception):
    """The message begins anew: provider or sender is paused, its attempt given up unspent; or another worker took that up."""


class Delivering:
    """Delivers records one by one; many at a time, each a task of its own."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._opening, self._verdicts = Opening(tools), Verdicts(tools)
        self._call_seconds = tools.tuning.longest_call_seconds(tools.channel.name)

    async def deliver(self, taken: Taken) -> None:
        """Bring one record to its end. What cannot be delivered becomes a dead letter; nothing is dropped.

        Raises KeyRingError: every message would end like this one, until somebody mends the ring.
        """
        message: Message | None = None
        try:
            if (decoded := await self._decode(taken)) is None:
                return
            if decoded.name == QUERY:
                await self._tools.overdue.answer(taken, decoded.value)
                return
            message = self._message(decoded)
            await self._attempt(taken, message)
        except PoisonError as poison:
            await self._bury(taken, message, poison)
        except KeyRingError:
            raise
        except Exception as error:  # noqa: BLE001 - one record's trouble, foreseen or not, must not stop its neighbours
            # Only the kind: an exception's text may hold what it failed on.
            kind = type(error).__name__
            log.error("delivery of offset %d ended in %s; it goes to the dead letters", taken.offset, kind)  # noqa: TRY400
            await self._bury(
                taken,
                message,
                PoisonError("unexpected_error", f"{kind} while delivering; a defect of ours, then replay"),
            )
        finally:
            self._tools.later.over(taken)

    def _message(self, decoded: Decoded) -> Message:
        if decoded.name != RECORD:
            raise PoisonError("wrong_record", f"a {decoded.name} where a ChannelMessage is expected; send those only")
        message = decoded.value
        if message["channel"] != self._tools.channel.name:
            raise PoisonError(
                "wrong_channel",
                f"channel: {message['channel']} on a topic of {self._tools.channel.name}; send it to its own",
                "channel",
            )
        return message

    async def _decode(self, taken: Taken) -> Decoded | None:
        """None: it is left to its next owner, who may be one that can read it."""
        if taken.message.key() is None:
            raise PoisonError("null_key", "key: null; write messages under their recipient's key", "key")
        while True:
            try:
                return self._tools.records.codec.decode(taken.message.value())
            except LaterSchemaError as error:
                if not await wait_aside(taken, self._tools.later.waits(taken, error)):
                    taken.abandon()
                    return None
            except CodecError as error:
                raise PoisonError(error.code, str(error), error.field) from None
            except RegistryUnavailableError as error:
                log.warning("the schema registry does not answer; a message waits for it: %s", error)
                await asyncio.sleep(REGISTRY_RETRY_SECONDS)

    async def _bury(self, taken: Taken, message: Message | None, poison: PoisonError) -> None:
        await self._tools.dead_letters.write(taken, poison, message, taken.finish)

    async def _attempt(self, taken: Taken, message: Message) -> None:
        tools = self._tools
        life = DeliveryLife(
            tools.statuses,
            taken,
            message,
            tools.channel.provider,
            accepted_is_delivered=tools.channel.accepted_is_delivered,
        )
        life.queued()
        tries = Tries()
        while True:
            permit: Permit | None = None
            try:
                big = await self._opening.names_forms(message)
                permit = await tools.admission.admit(taken, message, tries, big=big)
                if permit is None:
                    taken.abandon()  # nothing was done yet: its next owner does it
                    return
                leased = await self._try(taken, message, life, permit, tries)
            except Postponed:
                continue
            except LaterSchemaError as error:
                leased = Leased(tools.later.waits(taken, error))
            except LaterGateError:
                leased = Leased(tools.later.held(taken))
            finally:
                if permit is not None:
                    permit.close()
            if leased is None:
                return
            # Without its permit: it may be the only call that a paused provider is tried with.
            if not await wait_aside(taken, leased.seconds):
                taken.abandon()  # whoever comes next waits for the lease, or can read it
                return

    async def _try(
        self, taken: Taken, message: Message, life: DeliveryLife, permit: Permit, tries: Tries
    ) -> Leased | None:
        """None: it has its end, or its next owner.

        Raises Postponed, LaterSchemaError, LaterGateError, with nothing of ours in the ledger.
        """
        tools = self._tools
        content = await self._opening.content(message)
        # Before it is begun: reading may wait for Postgres, and what was not begun its next owner simply sends.
        forms = await self._opening.forms(message, content, permit)
        await tools.gates.wait_until_current()
        if taken.revoked:
            taken.abandon()  # nothing was done yet: its next owner does it
            return None
        self._verdicts.look(message, content)
        begun = await tools.attempts.begin(message)
        if isinstance(begun, Leased):
            return begun
        if isinstance(begun, Ended):
            if begun.outcome is None:
                taken.finish()  # its end was told before the later attempt was decided
            else:
                life.ended(begun.outcome)  # done before; only its status may not have reached Kafka
            return None
        dead: list[str] = []
        try:
            if content is None:
                outcome = Outcome.gated(Verdict("suppressed", "erased"))
            else:
                if forms.results:
                    tools.forms.tell(message["delivery_id"], forms)
                    content = {**content, "attachments": [*content["attachments"], *forms.files]}
                begun, outcome = await self._resolve(life, message, content, begun, permit, tries, dead)
            try:
                finished = await tools.attempts.finish(begun, outcome)
            except psycopg.errors.UniqueViolation:
                if outcome.reason != "found":
                    raise
                # Two of the same words to one number were in doubt: the other delivery was quicker to call this one its own.
                await self._postpone(begun, in_doubt=True)
            if not finished:
                raise Postponed
            life.ended(outcome)
            tools.counted.ended(message["lane"], outcome)
        finally:
            if dead:
                await self._forget_devices(message, dead)
        return None

    async def _resolve(
        self,
        life: DeliveryLife,
        message: Message,
        content: Message,
        begun: Begun,
        permit: Permit,
        tries: Tries,
        dead: list[str],
    ) -> tuple[Begun, Outcome]:
        """Call until the outcome is known, or may not be found out by another call; with the lease it came under.

        ``dead``: takes devices that are gone. Raises Postponed.
        """
        admission = self._tools.admission
        doubt: OutcomeUnknown | None = None
        since: datetime | None = begun.unknown_since
        while tries.unanswered < MAX_UNANSWERED:
            if since is not None:
                found = await self._find(message, content, since)
                if found is not None:
                    return begun, Outcome.accepted(found, "found")
                if not (message["essential"] or self._tools.channel.idempotent):
                    break
            async with self._released_if_cancelled(begun, in_doubt=since is not None):
                if permit.spent and not admission.at_once(permit, message):
                    await self._postpone(begun, in_doubt=True)
                kept = content["links"] or content["asks"] is not None
                if kept and not permit.late and self._verdicts.may_leave(message, content):
                    # Before the last look at lease and gates, which must be just before the call.
                    await self._tools.links.keep(message, content["links"])
                    await self._tools.questions.keep(message, content)
                leased = await self._leased(begun)
            if leased is None:
                raise Postponed  # nothing is said of it here: another may be calling at this moment
            begun, in_doubt, since = leased, since is not None, datetime.now(UTC)
            try:
                return begun, await self._call(life, message, content, permit, tries, dead)
            except OutcomeUnknown as unknown:
                doubt = unknown
                tries.unanswered += 1
                admission.ends.unanswered(permit, message, unknown.code)
            except Postponed:
                await self._postpone(begun, in_doubt=in_doubt)
        else:
            if since is not None and (found := await self._find(message, content, since)) is not None:
                return begun, Outcome.accepted(found, "found")
        return begun, Outcome.unknown(doubt or OutcomeUnknown("lease_over"))

    async def _postpone(self, begun: Begun, *, in_doubt: bool) -> NoReturn:
        await self._tools.attempts.release(begun, in_doubt=in_doubt)
        raise Postponed

    @asynccontextmanager
    async def _released_if_cancelled(self, begun: Begun, *, in_doubt: bool) -> AsyncIterator[None]:
        """The process ends before the call: the next owner need not take it for one that may have arrived."""
        try:
            yield
        except asyncio.CancelledError:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RELEASE_SECONDS):
                    await self._tools.attempts.release(begun, in_doubt=in_doubt)
            raise

    async def _find(self, message: Message, content: Message, since: datetime) -> Accepted | None:
        """What the provider already took that is this message and no other delivery of ours."""
        tools = self._tools
        try:
            candidates = await tools.channel.find(message, content, since)
        except (Refused, OutcomeUnknown) as error:
            log.warning("%s could not be asked for a message: %s", tools.channel.provider, error)
            return None
        if not candidates:
            return None
        others = await tools.attempts.known(candidate.provider_message_id for candidate in candidates)
        return next((found for found in candidates if found.provider_message_id not in others), None)

    async def _call(
        self, life: DeliveryLife, message: Message, content: Message, permit: Permit, tries: Tries, dead: list[str]
    ) -> Outcome:
        """The gates, then the provider. Raises OutcomeUnknown, Postponed."""
        tools = self._tools
        addresses = tools.channel.addresses(content)
        if not addresses:
            return self._refused(Refused("permanent_recipient", code="no_address"))
        try:
            verdicts = self._verdicts.of(message, addresses)
        except ValueError:
            return self._refused(Refused("permanent_recipient", code="address_form"))
        except LaterGateError:
            raise Postponed from None  # it came just now; begun anew, the message waits before anything is in the ledger
        if all(verdicts):
            return Outcome.gated(next(filter(None, verdicts)))
        if permit.late:
            return Outcome.gated(Verdict("expired", "expires_at"))
        if any(verdicts):
            addresses = [one for one, verdict in zip(addresses, verdicts, strict=True) if verdict is None]
            content = {**content, "to": " ".join(addresses)}
        life.sending()
        called_at = datetime.now(UTC)
        try:
            accepted = await self._send(message, content)
        except Refused as refused:
            if tools.channel.name == "push":
                dead += refused.dead_addresses
            outcome = self._refused(refused)
            if await tools.admission.ends.postpones(permit, message, refused, tries):
                raise Postponed from None
            if tools.channel.name != "push":
                await self._suppress(message, addresses, refused, called_at)
            return outcome
        tools.admission.ends.answered(permit)
        dead += accepted.dead_addresses
        return Outcome.accepted(accepted)

    async def _send(self, message: Message, content: Message) -> Accepted:
        """The call itself, timed. Raises Refused, OutcomeUnknown."""
        tools = self._tools
        began = time.monotonic()
        result: CallResult | None = None
        error_class: str | None = None
        try:
            accepted = await tools.channel.send(message, content)
        except Refused as refused:
            result, error_class = "refused", refused.error_class
            raise
        except OutcomeUnknown:
            result = "unknown"
            raise
        except Exception:
            result = "error"
            raise
        else:
            result = "accepted"
            return accepted
        finally:
            if result is not None:  # None: given up at our own end
                tools.counted.called(message["lane"], result, time.monotonic() - began, error_class)

    async def _leased(self, begun: Begun) -> Begun | None:
        """The attempt with a lease that outlives a call; None where another worker took it up.

        Paused, or starved of the processor, an attempt may have waited too long for its call; so may one whose outcome is
        open and that is to be sent again. It goes on if nobody else did.
        """
        await self._tools.gates.wait_until_current()
        leased: Begun | None = begun
        while leased is not None and not self._is_leased(leased):
            leased = await self._tools.attempts.renew(leased)
        return leased

    def _is_leased(self, begun: Begun) -> bool:
        return time.monotonic() + self._call_seconds <= begun.lease_until_monotonic

    def _refused(self, refused: Refused) -> Outcome:
        return Outcome.refused(refused, datetime.now(UTC), self._tools.tuning.retry_delay_seconds)

    async def _forget_devices(self, message: Message, tokens: Sequence[str]) -> None:
        """A device that is gone is forgotten: a new token takes its place. After the end is told, for it hangs on nothing here:

        what is not forgotten now is found gone again by the next message.
        """
        tools = self._tools
        try:
            await patiently(
                lambda: devices.forget(tools.pool, tools.records, message["recipient"], tokens, updated_by="sink:push"),
                retry_seconds=tools.tuning.postgres_retry_seconds,
            )
        except Exception as error:  # noqa: BLE001 - the message itself has its end
            log.error("%d dead devices could not be forgotten: %s", len(tokens), type(error).__name__)  # noqa: TRY400

    async def _suppress(
        self, message: Message, addresses: Sequence[str], refused: Refused, called_at: datetime
    ) -> None:
        """An address that said no, or is none, is not written to again."""
        reason = reason_of(refused.error_class)
        if reason is None:
            return
        tools = self._tools
        # An email sender has no classes: what its provider blocks, it blocks for all.
        sender_class: SenderClass = message["sender_class"] if tools.channel.name == "sms" else "*"
        said = (sender_class, reason, tools.channel.provider, refused.code, called_at)
        dead = [DeadAddress(tools.channel.name, address, *said) for address in addresses]
        await patiently(
            lambda: suppress(tools.pool, tools.records, dead, "sink"),
            retry_seconds=tools.tuning.postgres_retry_seconds,
        )
