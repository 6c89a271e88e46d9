"""How often: the recipient's frequency setting, the clinic's caps and rate limit, and what is collected into a digest.

What is essential or critical counts and is not held. Caps are for patients. One too many is dropped, put off or collected, as
its type's ``cap`` says.
"""

from __future__ import annotations

from collections.abc import Mapping

from streams.rules.findings import NOT_APPLICABLE, PASS, Finding, collected, veto, wait
from streams.rules.given import Given
from streams.rules.limits import HOUR_MS, MINUTE_MS, day_of, next_digest
from streams.rules.reasons import Reason
from streams.rules.terms import Terms

# Between two of marketing: the specification's 24, 168 and 720 h.
MARKETING_GAP_MS: Mapping[str, int] = {"daily": 24 * HOUR_MS, "weekly": 168 * HOUR_MS, "monthly": 720 * HOUR_MS}
# "occasionally" has no number in the specification: once in thirty days, as marketing's monthly.
REVIEWS_GAP_MS: Mapping[str, int] = {"always": 0, "occasionally": 720 * HOUR_MS}


def frequency(given: Given) -> Finding:
    """Marketing, reviews and follow-ups as often as the recipient wants them."""
    terms = given.terms
    of_class = terms.frequency_class
    if of_class == "none" or terms.essential or terms.answers:
        return NOT_APPLICABLE
    wanted = given.person.preferences[f"frequency_{of_class}"]
    if wanted in ("never", "none"):
        return veto(Reason.FREQUENCY_NEVER)
    if of_class == "follow_ups":
        return veto(Reason.NOT_IMPORTANT) if wanted == "important_only" and not terms.important else PASS
    gap_ms = (MARKETING_GAP_MS if of_class == "marketing" else REVIEWS_GAP_MS)[wanted]
    last_ms = given.tally.last_of(of_class) if gap_ms else None
    if last_ms is None or last_ms + gap_ms <= given.now_ms:
        return PASS
    return _one_too_many(given, Reason.FREQUENCY_GAP, last_ms + gap_ms)


def caps(given: Given) -> Finding:
    """The clinic's notifications a day, of all categories and of one, in the patient's calendar day.

    Not staff's: who checks twenty patients in is told of each, and of the twenty-first today.
    """
    terms, limits = given.terms, given.limits
    of_category = limits.by_category.get(terms.category, 0)
    if not terms.of_patients or _is_free(terms) or not (limits.daily or of_category):
        return NOT_APPLICABLE
    if given.digest_due and not given.told_singly:
        return NOT_APPLICABLE
    start_ms, end_ms = day_of(given.person.time_zone or given.zone, given.now_ms)
    today = [one for one in given.tally.sent if one.at_ms >= start_ms]
    if limits.daily and len(today) >= limits.daily:
        return _one_too_many(given, Reason.DAILY_CAP, end_ms)
    if of_category and sum(one.category == terms.category for one in today) >= of_category:
        return _one_too_many(given, Reason.CATEGORY_CAP, end_ms)
    return PASS


def digest(given: Given) -> Finding:
    """What the clinic, or the recipient, wants told once a day, in one message: neither can undo the other's."""
    terms = given.terms
    if _is_free(terms) or terms.marketing_consent or given.digest_due:
        return NOT_APPLICABLE
    wished = given.person.preferences["digest_categories"]
    by_clinic = terms.category in given.limits.digest_categories
    if by_clinic or (wished and terms.preference_category in {f"category_{one}" for one in wished}):
        return collected(Reason.DIGEST, _digest_ms(given))
    return NOT_APPLICABLE


def rate_limit(given: Given) -> Finding:
    """Messages a minute and an hour: it waits until enough of them lie back."""
    terms, limits = given.terms, given.limits
    if _is_free(terms) or not (limits.per_minute or limits.per_hour):
        return NOT_APPLICABLE
    until_ms = 0
    for limit, span_ms in ((limits.per_minute, MINUTE_MS), (limits.per_hour, HOUR_MS)):
        if limit:
            times = given.tally.messages_since(given.now_ms - span_ms)
            if len(times) >= limit:
                until_ms = max(until_ms, times[-limit] + span_ms)
    return wait(Reason.RATE_LIMIT, until_ms, late=Reason.RATE_LIMIT) if until_ms > given.now_ms else PASS


def _is_free(terms: Terms) -> bool:
    """No count holds it: a provider who needs a hand now is not told tomorrow, whatever staff were told today."""
    return terms.essential or terms.critical or terms.answers


def _one_too_many(given: Given, reason: Reason, over_ms: int) -> Finding:
    match given.terms.cap:
        case "drop":
            return veto(reason)
        case "digest" if not given.digest_due:
            return collected(reason, _digest_ms(given))
        case _:
            return wait(reason, over_ms, late=reason)


def _digest_ms(given: Given) -> int:
    """The recipient's own hour, else the clinic's; quiet hours may still put it off."""
    own = given.person.preferences["digest_hour"]
    hour = given.limits.digest_hour if own is None else own % 24
    return next_digest(given.person.time_zone or given.zone, hour, given.now_ms)
