"""The delivery plan: through which channels a notification goes, in which order, and what ends it.

The catalogue names channels sent at once (all of them, or only the first that is open) and later steps. Closed channels fall out.
Where none of the first channels is left, an essential notification begins with the first later step that is open; any other is
not sent at all: a refused channel is not made up for by another. What is left of a plan that was begun goes on with the first of
its steps that is open. Of the first channels those that have to wait come after the
others, and only if the others did not reach the recipient until then.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from streams.rules.terms import Channel, Terms

_NONE_HELD: Mapping[Channel, int] = MappingProxyType({})


class PlannedStep(NamedTuple):
    """One step. ``timeout_seconds``: how long ``success`` is waited for before the next step; 0: until it fails for good.

    ``parallel``: taken together with the step before it.
    """

    channel: Channel
    success: str
    timeout_seconds: int
    parallel: bool


def can_be_sent(terms: Terms, open_channels: Collection[Channel]) -> bool:
    """Does a plan remain?"""
    wanted = terms.all_channels if terms.essential or terms.rest else terms.channels
    return any(channel in open_channels for channel in wanted)


def first_channels(terms: Terms, open_channels: Collection[Channel], channel_order: Sequence[Channel]) -> list[Channel]:
    """The channels that a plan may begin with, best first. ``channel_order``: the recipient's, best first."""
    first = [channel for channel in terms.channels if channel in open_channels]
    if channel_order and len(first) > 1:
        ranks = {channel: rank for rank, channel in enumerate(channel_order)}
        first.sort(key=lambda channel: ranks.get(channel, len(ranks)))
    if not first and (terms.essential or terms.rest):
        first = [step.channel for step in terms.later if step.channel in open_channels][:1]
    return first


def plan_of(
    terms: Terms,
    open_channels: Collection[Channel],
    channel_order: Sequence[Channel],
    held_seconds: Mapping[Channel, int] = _NONE_HELD,
) -> tuple[PlannedStep, ...]:
    """The steps in their order; empty where ``can_be_sent`` is false. ``held_seconds``: how long first channels have to wait."""
    if not can_be_sent(terms, open_channels):
        return ()
    first = first_channels(terms, open_channels, channel_order)
    held = [channel for channel in first if channel in held_seconds]
    if held:
        first = [channel for channel in first if channel not in held_seconds]
        held.sort(key=held_seconds.__getitem__)
    later = [step for step in terms.later if step.channel in open_channels and step.channel not in (*first, *held)]
    groups: list[tuple[list[Channel], str, int]] = []  # channels taken together; what is awaited before them, how long
    if terms.send_first:
        groups += [([channel], "delivered", 0) for channel in first]
    elif first:
        groups.append((first, "delivered", 0))
    waited = 0
    for channel in held:
        groups.append(([channel], "delivered", held_seconds[channel] - waited))
        waited = held_seconds[channel]
    groups += [([step.channel], step.awaited, step.wait_seconds) for step in later]
    steps: list[PlannedStep] = []
    for number, (channels, _, _) in enumerate(groups):
        _, awaited, wait_seconds = groups[number + 1] if number + 1 < len(groups) else ([], "delivered", 0)
        steps += [PlannedStep(one, awaited, wait_seconds, parallel=one is not channels[0]) for one in channels]
    return tuple(steps)


def silent_plan(channels: Sequence[Channel]) -> tuple[PlannedStep, ...]:
    """All of these at once, and nothing after them."""
    return tuple(PlannedStep(one, "delivered", 0, parallel=one is not channels[0]) for one in channels)


def sent_at_once(steps: Sequence[PlannedStep]) -> int:
    """How many of the plan's steps are taken at once: the first, and those parallel to it."""
    count = 1
    while count < len(steps) and steps[count].parallel:
        count += 1
    return count
