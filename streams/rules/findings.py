"""What a rule says: pass, not applicable, closed channels, a veto, or wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from streams.rules.reasons import Reason
from streams.rules.terms import Channel


class Finding(NamedTuple):
    """A rule's answer. ``closed``: channels it removes; ``wait_until_ms``: for a deferral, ms since the epoch."""

    verdict: str
    reason: Reason | None = None
    closed: Mapping[Channel, Reason] = {}
    wait_until_ms: int | None = None


PASS = Finding("pass")
NOT_APPLICABLE = Finding("not_applicable")
_VETOES = {reason: Finding("veto", reason) for reason in Reason}
_PASSED = {reason: Finding("pass", reason) for reason in Reason}


def veto(reason: Reason) -> Finding:
    """Not sent at all."""
    return _VETOES[reason]


def passed(reason: Reason) -> Finding:
    """Sent, with something to remember about how."""
    return _PASSED[reason]


def narrowed(closed: Mapping[Channel, Reason]) -> Finding:
    """Some channels fall out; none: pass."""
    return Finding("narrow", None, closed) if closed else PASS


def wait(reason: Reason, until_ms: int) -> Finding:
    """Decided again at ``until_ms``."""
    return Finding("defer", reason, {}, until_ms)
