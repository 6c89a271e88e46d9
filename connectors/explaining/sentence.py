"""The one sentence that can be said at a front desk about a notification, or about one that would be. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from connectors.accounting import EXHAUSTED
from connectors.explaining.facts import Decision, Delivery, OptOutSaid, Said, Story
from connectors.explaining.phrases import (
    CHANNELS,
    CLOSED,
    ENDED,
    MESSAGES,
    MOST_CLAUSES,
    WAYS,
    WHOLE,
    WISHES,
    kind_of,
    who_is,
)
from connectors.explaining.said import said_before

ARRIVED = ("delivered", "read", "clicked", "acknowledged", "complained", "unsubscribed")
LEFT = ("sent", *ARRIVED)
_FAILED = ("failed", "undelivered", "bounced", "unknown", "suppressed", "cancelled", "expired")
# Said as their own clause, which the veto by the last channel would only repeat.
_SAID_BY_CHANNELS = frozenset(CLOSED)


class Clock:
    """Tells times as people of the clinic do: at 09:02 on 3 March, with the year where it is not this one."""

    def __init__(self, zone: str, now: datetime) -> None:
        self._zone = ZoneInfo(zone)
        self._year = now.astimezone(self._zone).year

    def day(self, moment: datetime) -> str:
        """3 March."""
        local = moment.astimezone(self._zone)
        return f"{local.day} {local:%B}" + (f" {local.year}" if local.year != self._year else "")

    def moment(self, moment: datetime) -> str:
        """09:02 on 3 March."""
        return f"{moment.astimezone(self._zone):%H:%M} on {self.day(moment)}"


def sentence(story: Story, said: Said, clock: Clock) -> str:
    """What became of it, and why."""
    who, kind = who_is(story.recipient), kind_of(story.notification_type)
    decision = story.last
    if story.dead_letter not in (None, EXHAUSTED):
        return _whole(
            [f"the {kind} could not be handled ({story.dead_letter}), and our technicians have it before them"]
        )
    if decision is None:
        return _whole([f"the {kind} was asked for, and is not decided yet; ask again in a moment"])
    said = said_before(said, decision.decided_at)
    # What is under way, or there, is so whatever was decided of trying it again or otherwise.
    is_out = any(one.status in ("sent", *ARRIVED) for one in story.deliveries)
    if decision.outcome == "defer" and not is_out:
        until = decision.until
        waits = f"the {kind} waits" + (f" until {clock.moment(until)}" if until else "")
        return _whole([f"{waits}, because {_because(decision.reason, who)}"])
    # What its sink has goes out still, though no other step follows it.
    is_out = is_out or any(one.status in ("queued", "sending") for one in story.deliveries)
    if decision.outcome == "suppress" and not is_out:
        return _whole(_not_sent(decision, said, who, kind, clock, "was not sent"))
    clauses = _closed(story.planned_by or decision, said, who, clock, WISHES)[:MOST_CLAUSES]
    return _whole([*clauses, _sent(story, who, kind, clock)])


def foretold(decision: Decision, recipient: str, notification_type: str, said: Said, clock: Clock) -> str:
    """What would become of it, at the time of ``decision``."""
    who, kind = who_is(recipient), kind_of(notification_type)
    if decision.outcome == "defer" and decision.until is not None:
        because = _because(decision.reason, who)
        return _whole([f"not then: the {kind} would wait until {clock.moment(decision.until)}, because {because}"])
    if decision.outcome != "deliver":
        clauses = _not_sent(decision, said, who, kind, clock, "would not be sent")
        return _whole([f"no: {clauses[0]}", *clauses[1:]])
    first, later = [MESSAGES[channel] for channel in decision.handed_over], decision.later
    yes = f"yes: the {kind} would go out by {together(first)} at {clock.moment(decision.decided_at)}"
    if later:
        yes += f", and by {together([MESSAGES[channel] for channel in later])} if that did not arrive"
    return _whole([yes, *_closed(decision, said, who, clock, WISHES)[:MOST_CLAUSES]])


def _not_sent(decision: Decision, said: Said, who: str, kind: str, clock: Clock, was_not: str) -> list[str]:
    closed = _closed(decision, said, who, clock, frozenset(CLOSED))
    if decision.reason in _SAID_BY_CHANNELS and decision.reason in decision.closed.values() and closed:
        return [*closed[: MOST_CLAUSES + 1], f"no other way was left, so the {kind} {was_not}"]
    because = _because(decision.reason, who)
    if decision.reason == "expired" and decision.waited is not None:
        because = f"{_because(decision.waited, who)}, and it would mean nothing after that"
    if decision.reason == "global_opt_out" and (no := _opt_out(said, "", "everything")):
        because += f", since {clock.day(no)}"
    return [f"the {kind} {was_not}, because {because}"]


def _closed(decision: Decision, said: Said, who: str, clock: Clock, reasons: frozenset[str]) -> list[str]:
    """A clause for each reason why channels fell, in the order of the rules."""
    clauses: dict[str, list[str]] = {}
    fallen = {channel: reason for channel, reason in decision.closed.items() if reason in reasons}
    if len(fallen) > 1 and fallen.get("push") == "unreachable":
        del fallen["push"]  # hardly anybody has our app; it is no answer to why
    for channel, reason in fallen.items():
        clauses.setdefault(_clause(decision, channel, reason, said, who, clock), []).append(CHANNELS[channel])
    return [clause.replace("{them}", together(channels)) for clause, channels in clauses.items()]


def _clause(decision: Decision, channel: str, reason: str, said: Said, who: str, clock: Clock) -> str:
    """Why one channel fell, with ``{them}`` left open: channels with the same clause are told together."""
    if reason == "opted_out" and (consent := said.consent(decision, channel)) is not None:
        day = clock.day(consent.consent_date)
        if consent.source in WAYS:
            return f"{WAYS[consent.source].format(who=who)} on {day}, so {{them}} are off"
        if consent.updated_by.startswith("patient:"):
            return f"{who} withdrew the consent to {{them}} on {day}"
        return f"{who}'s consent to {{them}} was entered as withdrawn on {day}"
    if reason == "address_suppressed":
        found = next((one for one in said.blocked if one.channel == channel), None)
        if found is not None and found.reason == "opted_out":
            way = WAYS["text" if channel == "sms" else "provider"]
            return f"{way.format(who=who)} on {clock.day(found.since)}, so {{them}} are off"
        if found is not None and found.reason in ENDED:
            return f"{{them}} are blocked since {clock.day(found.since)}, because {ENDED[found.reason].format(who=who)}"
    scope = {"category_opt_out": "category:", "channel_off": "channel"}.get(reason)
    if scope is not None and (no := _opt_out_entry(said, channel, scope)) is not None:
        return f"{WAYS[no.path].format(who=who)} on {clock.day(no.at)}, so {{them}} are off"
    if scope is not None and (saved := _page_saved(said)) is not None:
        # What was switched there the entry does not say: it may have been something else.
        return f"{CLOSED[reason].replace('{who}', who)} (changed last on the preference page, on {clock.day(saved)})"
    return CLOSED[reason].replace("{who}", who)


def _opt_out_entry(said: Said, channel: str, scope: str) -> OptOutSaid | None:
    return next((one for one in said.opt_outs if one.channel == channel and one.scope.startswith(scope)), None)


def _page_saved(said: Said) -> datetime | None:
    return next((one.at for one in said.opt_outs if one.path == "page"), None)


def _opt_out(said: Said, channel: str, scope: str) -> datetime | None:
    return next((one.at for one in said.opt_outs if one.scope == scope and channel in ("", one.channel)), None)


def _sent(story: Story, who: str, kind: str, clock: Clock) -> str:
    """What became of what was decided to be sent."""
    deliveries = story.deliveries
    if arrived := [one for one in deliveries if one.status in ARRIVED]:
        return f"the {kind} arrived {_by(arrived, ARRIVED, clock)}"
    if left := [one for one in deliveries if one.at(*LEFT) is not None and one.status not in _FAILED]:
        return f"the {kind} went out {_by(left, LEFT, clock)}, and the provider has not yet said that it arrived"
    ended = [one for one in deliveries if one.status in _FAILED]
    if ended and len(ended) == len(deliveries) and (doubted := [one for one in ended if one.status == "unknown"]):
        way = _by(doubted, (), clock)
        return f"the {kind} may have gone out {way}, and nobody knows: {ENDED['no_answer']}"
    if ended and len(ended) == len(deliveries):
        one = ended[-1]
        did_not = (
            "was stopped before it went out"
            if one.status in ("suppressed", "cancelled", "expired")
            else "did not arrive"
        )
        told = f"the {kind} {did_not} by {MESSAGES[one.channel]}"
        # Where nobody gave a reason, or one of a later release, none is made up.
        because = ENDED.get(one.why)
        return told if because is None else f"{told}, because {because.format(who=who)}"
    if deliveries and all(one.status == "waiting" for one in deliveries):
        ready = together([MESSAGES[one.channel] for one in deliveries])
        return f"the {kind} is ready as a {ready}, and nothing has taken it yet"
    if waiting := [one for one in deliveries if one.status == "queued"]:
        return (
            f"the {kind} is ready as a {together([MESSAGES[one.channel] for one in waiting])}, and waits for its turn"
        )
    return f"the {kind} is on its way"


def _by(deliveries: Sequence[Delivery], statuses: tuple[str, ...], clock: Clock) -> str:
    return together([f"by {MESSAGES[one.channel]}{_at(one.at(*statuses), clock)}" for one in deliveries])


def _at(moment: datetime | None, clock: Clock) -> str:
    return f" at {clock.moment(moment)}" if moment else ""


def _because(reason: str, who: str) -> str:
    return WHOLE.get(reason, f"of the reason {reason}").replace("{who}", who)


def together(words: Sequence[str]) -> str:
    """Several as one says them: a, b and c. At least one."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _whole(clauses: Sequence[str]) -> str:
    text = "; ".join(clauses)
    return f"{text[0].upper()}{text[1:]}."
