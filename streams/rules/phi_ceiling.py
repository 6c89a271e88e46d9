"""The PHI ceiling: a channel never shows more than its level, so what tells more is told generally, or not there at all."""

from __future__ import annotations

from streams.rules.findings import PASS, Finding, narrowed, passed
from streams.rules.given import Given
from streams.rules.reasons import Reason


def phi_ceiling(given: Given) -> Finding:
    """Above a channel's ceiling the channel's own, general text points to the portal (rendering holds it to that).

    Strangers have no portal: where it is not essential, they are not written to with what they could not read up.
    """
    above = given.terms.above_ceiling
    if not above:
        return PASS
    if given.person.version == 0 and not given.terms.essential:
        return narrowed(dict.fromkeys(above, Reason.ABOVE_CEILING))
    return passed(Reason.GENERIC)
