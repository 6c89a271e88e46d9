"""What must not be sent any more, whoever asks: blocked recipients and addresses, types and channels the clinic does not use."""

from __future__ import annotations

from streams.rules.findings import NOT_APPLICABLE, PASS, Finding, narrowed, veto
from streams.rules.given import Given
from streams.rules.reasons import Reason
from streams.rules.terms import Channel


def overtaken(given: Given) -> Finding:
    """Superseded, cancelled or expired."""
    if given.overtaken is not None:
        return veto(given.overtaken)
    if given.expires_at_ms is not None and given.expires_at_ms <= given.now_ms:
        return veto(Reason.EXPIRED)
    return PASS


# What critical notices are sent by before email, where that is open.
_BEFORE_EMAIL: tuple[Channel, ...] = ("sms", "push")


def duplicate(given: Given) -> Finding:
    """The same was told a moment ago. A newer version of what it is about is never a duplicate.

    What accompanies a critical notice is one where that notice itself begins with email, which carries the file.
    """
    return veto(Reason.DUPLICATE) if given.is_duplicate or (given.terms.accompanies and _by_email(given)) else PASS


def _by_email(given: Given) -> bool:
    closed = {*given.suppressed, *given.disabled_channels}
    return not any(channel in given.person.addresses and channel not in closed for channel in _BEFORE_EMAIL)


def suppression(given: Given) -> Finding:
    """Gates as they stand now. The sink looks again just before the call; this keeps the reason where it can be explained."""
    if given.blocked:
        return veto(Reason.RECIPIENT_BLOCKED)
    return narrowed(dict.fromkeys(given.suppressed, Reason.ADDRESS_SUPPRESSED))


def clinic_policy(given: Given) -> Finding:
    """What the clinic switched off for everybody; staff who left are not told its business."""
    if given.terms.name in given.disabled_types:
        return veto(Reason.TYPE_DISABLED)
    if not given.person.active and not (given.terms.of_patients and given.terms.essential):
        return veto(Reason.INACTIVE)
    return narrowed(dict.fromkeys(given.disabled_channels, Reason.CHANNEL_DISABLED_BY_CLINIC))


def essential(given: Given) -> Finding:
    """Says only whether the recipient's preferences count: they do where this is not applicable."""
    return PASS if given.terms.essential else NOT_APPLICABLE
