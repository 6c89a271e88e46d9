"""Why a notification waits or is not sent: every reason code of a decision, with what it means.

`python -m streams.rules.reasons > docs/reasons.md` writes the table for analysts; a test holds it equal.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """A reason code. Codes are part of our contract: they are added, never renamed."""

    meaning: str

    def __new__(cls, code: str, meaning: str) -> Reason:
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    DELIVER = "deliver", "Nothing stands against it: the plan's first steps were handed to their channels."
    TRIED_AGAIN = "tried_again", "It failed in a way that passes, and was handed to the same channel once more."
    NEXT_CHANNEL = (
        "next_channel",
        "The channels before did not reach them, or not in time: it was handed to the next one of its plan.",
    )
    RETRY = "retry", "The provider could not take or deliver it just now: it is tried again a little later."
    NOT_DUE = "not_due", "It is due later: it waits in a timer and is decided then."
    SUPERSEDED = "superseded", "A newer version of the same appointment (payment, membership …) made it void."
    CANCELLED = "cancelled", "It was cancelled, or what it is about was, or no longer concerns this recipient."
    ALREADY_DONE = (
        "already_done",
        "It asks for what the recipient did already: confirmed, filled in, signed or paid.",
    )
    EXPIRED = "expired", "Its time had passed before it could be sent."
    DUPLICATE = (
        "duplicate",
        "The same is told them already: asked for by another event a moment ago, or by the notice that it accompanies.",
    )
    DO_NOT_DISTURB = (
        "do_not_disturb",
        "The recipient does not want to be disturbed: it waits for the end of that; where there is none, what is essential comes "
        "by email and in the portal, and nothing else.",
    )
    QUIET_HOURS = "quiet_hours", "The recipient's quiet hours: it waits for their end."
    CLINIC_QUIET_HOURS = "clinic_quiet_hours", "The clinic's quiet hours: it waits for their end."
    TELEPHONE_HOURS = (
        "telephone_hours",
        "United States: texts that are not essential wait for 8 o'clock where the recipient is.",
    )
    BEFORE_QUIET_HOURS = (
        "before_quiet_hours",
        "It would be due in quiet hours and mean nothing after them: it is sent before they begin.",
    )
    SILENT_ONLY = "silent_only", "Waiting would take too long: it is sent now, only where it disturbs nobody."
    IN_TIME_FOR = (
        "in_time_for",
        "After the quiet hours it would come too late for the hour that it tells of: it is sent in them.",
    )
    UNVERIFIED = "unverified", "Nobody has verified the number or address yet."
    FREQUENCY_NEVER = "frequency_never", "The recipient wants no such notifications."
    FREQUENCY_GAP = (
        "frequency_gap",
        "The recipient wants such notifications less often: the last one is not long enough ago.",
    )
    NOT_IMPORTANT = "not_important", "The recipient wants only important follow-ups."
    DAILY_CAP = (
        "daily_cap",
        "The recipient has had as many notifications today as the clinic sends one person in a day.",
    )
    CATEGORY_CAP = "category_cap", "The recipient has had as many of this category today as the clinic sends in a day."
    RATE_LIMIT = "rate_limit", "Too many messages to one recipient within a minute or an hour: it waits for its turn."
    DIGEST = "digest", "It is collected, and told with others in one message at the recipient's hour."
    IN_DIGEST = "in_digest", "It was told together with others, in a digest."
    OPTED_OUT = "opted_out", "The recipient withdrew the consent that it needs on this channel."
    CONSENT_EXPIRED = "consent_expired", "The consent that it needs on this channel has run out."
    NO_CONSENT = "no_consent", "Marketing needs an explicit consent on this channel; there is none."
    ADDRESS_SUPPRESSED = (
        "address_suppressed",
        "The number or address is blocked: opted out at the provider, bounced, complained, or by hand.",
    )
    RECIPIENT_BLOCKED = "recipient_blocked", "The recipient was erased, or blocked by hand."
    INACTIVE = "inactive", "The recipient has left the clinic."
    TYPE_DISABLED = "type_disabled", "The clinic does not send this type."
    CHANNEL_DISABLED_BY_CLINIC = "channel_disabled_by_clinic", "The clinic does not use this channel."
    GLOBAL_OPT_OUT = "global_opt_out", "The recipient wants essential notifications only."
    EVENT_OPT_OUT = "event_opt_out", "The event itself says not to use this channel."
    CHANNEL_OFF = "channel_off", "The recipient switched this channel off."
    UNREACHABLE = "unreachable", "There is no address for this channel."
    UNKNOWN_RECIPIENT = "unknown_recipient", "Nobody of this id is known; strangers have no inbox."
    CATEGORY_OPT_OUT = "category_opt_out", "The recipient did not opt in to such notifications on this channel."
    CATEGORY_OFF = "category_off", "The recipient switched off this category everywhere."
    ABOVE_CEILING = (
        "above_ceiling",
        "It tells more than the channel may show, and a stranger has no portal for a general notice to point to.",
    )
    GENERIC = (
        "generic",
        "It tells more than the channel may show: the channel's text is general, the portal has the rest.",
    )


def table() -> str:
    """All codes as a Markdown table."""
    rows = "".join(f"| `{reason.value}` | {reason.meaning} |\n" for reason in Reason)
    return (
        "# Reasons of decisions\n\n"
        "The `reason` of a decision, and of its rules' verdicts. Made by `python -m streams.rules.reasons`.\n\n"
        f"| code | what it means |\n|---|---|\n{rows}"
    )


if __name__ == "__main__":
    print(table(), end="")
