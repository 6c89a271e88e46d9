"""What a rule says: pass, not applicable, closed channels, a veto, or wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from streams.rules.reasons import Reason
from streams.rules.terms import Channel


class Finding(NamedTuple):
    """A rule's answer. ``closed``: channels it removes; ``wait_until_ms``: for a deferral, ms since the epoch.

    ``held``: channels that may be used only later. ``silent``: channels that may be used although it should wait, where waiting
    would take too long; ``late``: why it is not sent where none of them is left. ``collects``: for a digest.
    """

    verdict: str
    reason: Reason | None = None
    closed: Mapping[Channel, Reason] = {}
    wait_until_ms: int | None = None
    held: Mapping[Channel, Reason] = {}
    silent: tuple[Channel, ...] = ()
    late: Reason = Reason.EXPIRED
    collects: bool = False


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


def wait(reason: Reason, until_ms: int, silent: tuple[Channel, ...] = (), late: Reason = Reason.EXPIRED) -> Finding:
    """Decided again at ``until_ms``."""
    return Finding("defer", reason, {}, until_ms, silent=silent, late=late)


def held(channels: Mapping[Channel, Reason]) -> Finding:
    """Some channels have to wait; none: pass."""
    return Finding("hold", held=channels) if channels else PASS


def collected(reason: Reason, until_ms: int) -> Finding:
    """Told in a digest at ``until_ms``; where that is too late, in the portal alone."""
    return Finding("defer", reason, {}, until_ms, silent=("in_app",), late=reason, collects=True)
