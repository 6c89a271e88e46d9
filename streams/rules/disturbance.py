"""Do not disturb: only what is critical comes through; the rest waits for its end."""

from __future__ import annotations

from streams.rules.findings import NOT_APPLICABLE, PASS, Finding, narrowed, veto, wait
from streams.rules.given import Given
from streams.rules.reasons import Reason
from streams.rules.terms import Channel

# What comes in without a sound, and waits to be looked at: for what is essential where waiting has no end.
QUIETER: tuple[Channel, ...] = ("in_app", "email")
_RINGING: tuple[Channel, ...] = ("sms", "push")


def do_not_disturb(given: Given) -> Finding:
    """Without an end: essential by email and in the portal, nothing else. The same where its end comes too late."""
    terms, person = given.terms, given.person
    if terms.critical or terms.answers:
        return NOT_APPLICABLE
    if not person.preferences["do_not_disturb"]:
        return PASS
    until_ms = person.undisturbed_until_ms
    if until_ms is not None:
        if until_ms <= given.now_ms:
            return PASS
        return wait(Reason.DO_NOT_DISTURB, until_ms, QUIETER if terms.essential else ())
    return narrowed(dict.fromkeys(_RINGING, Reason.DO_NOT_DISTURB)) if terms.essential else veto(Reason.DO_NOT_DISTURB)
