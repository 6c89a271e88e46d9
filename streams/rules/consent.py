"""Consent, by the type's scope: a withdrawn or expired one closes its channel; marketing needs one that was given."""

from __future__ import annotations

from streams.rules.findings import NOT_APPLICABLE, Finding, narrowed
from streams.rules.given import Given
from streams.rules.reasons import Reason
from streams.rules.terms import Channel


def consent(given: Given) -> Finding:
    """The six consents of the specification. Nothing passes this rule, essential or not.

    Marketing by push and in the app falls under ``push_notifications`` and ``portal_notifications``, which have no marketing
    scope of their own: a withdrawal closes them, the opt-in that marketing needs there is the preference's.
    """
    if not given.terms.consents:
        return NOT_APPLICABLE
    closed: dict[Channel, Reason] = {}
    for channel, consent_type in given.terms.consents:
        state = given.person.consents.get(consent_type)
        if state is not None and state.status == "opted_out":
            closed[channel] = Reason.OPTED_OUT
        elif state is not None and state.expires_ms is not None and state.expires_ms <= given.now_ms:
            closed[channel] = Reason.CONSENT_EXPIRED
        elif (
            given.terms.marketing_consent
            and channel in ("sms", "email")
            and (state is None or state.status != "opted_in")
        ):
            closed[channel] = Reason.NO_CONSENT
    return narrowed(closed)
