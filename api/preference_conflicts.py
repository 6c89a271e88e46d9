"""What a preference document says that cannot be, or cannot both be. Pure: ``now`` is an argument."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel

from api.names import MEND_WORD, unknown
from api.preference_model import DoNotDisturb, Preferences, get
from schemas.formats import FORMATS, MENDS
from schemas.shapes import Violation, shape_of

# Clocks differ; a do-not-disturb that ended a moment ago is no contradiction yet.
PAST_TOLERANCE = timedelta(minutes=5)
# A longer do-not-disturb is one without an end.
MAX_DO_NOT_DISTURB = timedelta(days=366)

_READ_ONLY = (
    "patientId",
    "channels.sms.phoneNumber",
    "channels.sms.verified",
    "channels.email.emailAddress",
    "channels.email.verified",
    "updatedAt",
    "updatedBy",
    "consentRecorded",
    "consentDate",
    "ours.asked",
)


def contradictions(wanted: Preferences, before: Mapping[str, Any], now: datetime) -> Iterator[Violation]:
    """What a document says that cannot be, or cannot both be. ``before``: as it was served.

    What was so before, and came by an import, stays as it is: whoever changes something else could not mend it there.
    """
    served = wanted.model_dump(by_alias=True)
    for path in _READ_ONLY:
        field = get(served, path)
        if field != get(before, path) and not _left_out(wanted, path):
            yield Violation(path, shape_of(field), "leave it out, or as it was read: it cannot be changed here")
    stood = {one.field for one in _conflicts(Preferences.model_validate(before))}
    for one in _conflicts(wanted):
        if one.field not in stood or get(served, one.field) != get(before, one.field):
            yield one
    yield from _disturbing(wanted.do_not_disturb, before["doNotDisturb"], now)


def _conflicts(wanted: Preferences) -> Iterator[Violation]:
    for channel, part in (("sms", wanted.channels.sms), ("email", wanted.channels.email)):
        if not part.opt_in.transactional:
            yield Violation(
                f"channels.{channel}.optIn.transactional",
                "bool",
                "leave it true; to stop all of a channel turn it off (enabled), or revoke its consent",
            )
    hours = wanted.quiet_hours
    for name in ("start", "end"):
        text = getattr(hours, name)
        if not FORMATS["hh:mm"](text):
            yield Violation(f"quietHours.{name}", shape_of(text), MENDS["hh:mm"])
    if hours.enabled and hours.start == hours.end:
        yield Violation("quietHours.end", "the same as start", "end them at another time, or turn them off (enabled)")
    if hours.timezone is not None and not FORMATS["iana-zone"](hours.timezone):
        yield Violation("quietHours.timezone", shape_of(hours.timezone), MENDS["iana-zone"])
    if wanted.language is not None and not FORMATS["locale"](wanted.language):
        yield Violation("language", shape_of(wanted.language), MENDS["locale"])
    for path, given in (
        ("quietHours.exceptions", hours.exceptions),
        ("ours.channelOrder", wanted.ours.channel_order),
        ("ours.quietWeekdays", wanted.ours.quiet_weekdays),
        ("ours.digest.categories", wanted.ours.digest.categories),
    ):
        if len(set(given)) != len(given):
            yield Violation(path, shape_of(given), "name each only once")


def unknown_exceptions(wanted: Preferences, before: Mapping[str, Any], words: Collection[str]) -> Iterator[Violation]:
    """Exceptions of quiet hours that name nothing of the catalogue (``words``), and so would except nothing."""
    kept = before["quietHours"]["exceptions"]
    return unknown("quietHours.exceptions", wanted.quiet_hours.exceptions, kept, words, MEND_WORD)


def _disturbing(wanted: DoNotDisturb, before: Mapping[str, Any], now: datetime) -> Iterator[Violation]:
    if wanted.until is None or (wanted.enabled, wanted.until) == (before["enabled"], before["until"]):
        return  # one that ended since is what was stored, not what is asked for
    if not wanted.enabled:
        yield Violation("doNotDisturb.until", "a time", "leave out its end, or turn it on (enabled)")
    elif wanted.until < now - PAST_TOLERANCE:
        yield Violation("doNotDisturb.until", "a time in the past", "send a time to come, or turn it off (enabled)")
    elif wanted.until > now + MAX_DO_NOT_DISTURB:
        yield Violation("doNotDisturb.until", "a time over a year ahead", "send null for one without an end")


def _left_out(wanted: Preferences, path: str) -> bool:
    """Whether a read-only field was not sent."""
    part: BaseModel = wanted
    *parents, name = path.split(".")
    for parent in parents:
        part = getattr(part, _python_name(parent))
    return _python_name(name) not in part.model_fields_set


def _python_name(served: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in served)
