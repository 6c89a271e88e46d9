"""The recipient's preferences, channel by channel: switched on, reachable, opted in. Essential notifications pass preferences."""

from __future__ import annotations

from streams.rules.findings import NOT_APPLICABLE, PASS, Finding, narrowed, veto
from streams.rules.given import Given
from streams.rules.reasons import Reason
from streams.rules.terms import Channel


def global_opt_out(given: Given) -> Finding:
    """Essential notifications only."""
    if given.terms.essential:
        return NOT_APPLICABLE
    return veto(Reason.GLOBAL_OPT_OUT) if given.person.preferences["global_opt_out"] else PASS


def event_opt_in(given: Given) -> Finding:
    """An event's own ``sms_opt_in`` and ``email_opt_in``: false closes the channel for this event, true opens nothing."""
    return narrowed(dict.fromkeys(given.event_opt_outs, Reason.EVENT_OPT_OUT))


def channel_enabled(given: Given) -> Finding:
    """Channels that the recipient switched off."""
    if given.terms.essential:
        return NOT_APPLICABLE
    preferences = given.person.preferences
    closed: dict[Channel, Reason] = {}
    for channel in given.terms.all_channels:
        if not preferences[f"{channel}_enabled"]:
            closed[channel] = Reason.CHANNEL_OFF
    return narrowed(closed)


def verified(given: Given) -> Finding:
    """Addresses that nobody verified are not used, save to verify them, or to answer who wrote from them."""
    unverified = given.person.unverified
    if given.terms.answers:
        return NOT_APPLICABLE
    return narrowed({c: Reason.UNVERIFIED for c in given.terms.all_channels if c in unverified}) if unverified else PASS


def reachable(given: Given) -> Finding:
    """Channels without an address; a stranger has no inbox."""
    addresses = given.person.addresses
    closed: dict[Channel, Reason] = {}
    for channel in given.terms.all_channels:
        if channel not in addresses:
            closed[channel] = Reason.UNKNOWN_RECIPIENT if channel == "in_app" else Reason.UNREACHABLE
    return narrowed(closed)


def category_opt_in(given: Given) -> Finding:
    """The opt-ins of a channel: five for SMS and email, five of its own for push, none for in-app."""
    if given.terms.essential:
        return NOT_APPLICABLE
    preferences = given.person.preferences
    closed: dict[Channel, Reason] = {}
    for channel, group, name in given.terms.opt_ins:
        if not preferences[group][name]:
            closed[channel] = Reason.CATEGORY_OPT_OUT
    return narrowed(closed)


def category_preference(given: Given) -> Finding:
    """The six global categories. Staff types fall under none."""
    category = given.terms.preference_category
    if given.terms.essential or category is None:
        return NOT_APPLICABLE
    return PASS if given.person.preferences[category] else veto(Reason.CATEGORY_OFF)
