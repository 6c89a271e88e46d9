"""Every code of a decision, a gate and a failed call, in words that can be said at a front desk. No names, no addresses.

A test holds that every reason of the decision has a phrase here, so a new one cannot be forgotten.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# One channel, alone and as several; a message by it.
CHANNELS: Mapping[str, str] = {"sms": "texts", "email": "emails", "push": "push messages", "in_app": "portal messages"}
MESSAGES: Mapping[str, str] = {"sms": "text", "email": "email", "push": "push message", "in_app": "portal message"}

# Reason → why the whole of it waits or is not sent; read after "because". {who}: the patient, or the colleague.
WHOLE: Mapping[str, str] = {
    "deliver": "nothing stood against it",
    "tried_again": "it had failed in a way that passes, so it was handed over once more",
    "next_channel": "{who} could not be reached by what came before, or not in time, so the next way was taken",
    "retry": "it could not be handed over or delivered just then, so it is tried again a little later",
    "not_due": "it is not due before then",
    "superseded": "a newer version of what it was about took its place",
    "cancelled": "it was cancelled, or what it was about was, or no longer concerns {who}",
    "already_done": "{who} had done already what it asks for",
    "expired": "its time had passed before it could be sent",
    "duplicate": "{who} had just been told the same",
    "do_not_disturb": "{who} asked not to be disturbed",
    "quiet_hours": "those are {who}'s quiet hours",
    "clinic_quiet_hours": "those are the clinic's quiet hours",
    "telephone_hours": "such texts go out only between 8 and 21 o'clock where {who} is",
    "before_quiet_hours": "it would mean nothing after the quiet hours, so it goes out before them",
    "silent_only": "waiting would have taken too long, so it went only where it disturbs nobody",
    "in_time_for": "after the quiet hours it would have come too late for the hour that it tells of",
    "unverified": "no number or address is verified yet",
    "frequency_never": "{who} wants no such messages",
    "frequency_gap": "{who} wants such messages less often, and had one not long before",
    "not_important": "{who} wants only important follow-ups",
    "daily_cap": "{who} had as many messages that day as the clinic sends one person",
    "category_cap": "{who} had as many messages of this kind that day as the clinic sends one person",
    "rate_limit": "{who} had been sent too many messages within the hour",
    "digest": "it is told together with others, in one message a day",
    "in_digest": "it was told together with others, in one message",
    "opted_out": "{who} withdrew the consent that it needs",
    "consent_expired": "the consent that it needs has run out",
    "no_consent": "such messages need a consent, and {who} never gave it",
    "address_suppressed": "the number or address is blocked",
    "recipient_blocked": "{who}'s record was erased, or is blocked",
    "inactive": "{who} has left the clinic",
    "type_disabled": "the clinic does not send this kind of message",
    "channel_disabled_by_clinic": "the clinic does not use the channel that is left",
    "global_opt_out": "{who} wants essential messages only",
    "event_opt_out": "it was entered with the note not to send it this way",
    "channel_off": "{who} switched the channel off",
    "unreachable": "there is no number or address to send it to",
    "unknown_recipient": "there is no record of {who}",
    "category_opt_out": "{who} did not ask for this kind of message",
    "category_off": "{who} switched off this kind of message",
    "above_ceiling": "it says more than may be shown on the channel that is left",
    "generic": "it says more than may be shown there, so the message was general and the portal has the rest",
}

# Reason → why one or more channels fell; {them}: "texts", "texts and emails".
CLOSED: Mapping[str, str] = {
    "do_not_disturb": "{who} asked not to be disturbed by {them}",
    "opted_out": "{who} withdrew the consent to {them}",
    "consent_expired": "the consent to {them} has run out",
    "no_consent": "{who} never agreed to {them} of this kind",
    "address_suppressed": "{them} are blocked",
    "channel_disabled_by_clinic": "the clinic does not use {them}",
    "event_opt_out": "it was entered with the note not to send {them}",
    "channel_off": "{who} switched {them} off",
    "unverified": "no number or address for {them} is verified",
    "unreachable": "there is no number or address for {them}",
    "category_opt_out": "{who} did not ask for {them} of this kind",
    "above_ceiling": "it says more than {them} may show",
    "silent_only": "waiting would have taken too long and {them} would have disturbed",
}

# Of a channel that fell although others did not, these are worth a word; that somebody has no email is not.
WISHES = frozenset(
    {
        *("opted_out", "consent_expired", "no_consent", "address_suppressed", "channel_off", "category_opt_out"),
        *("do_not_disturb", "event_opt_out", "unverified"),
    }
)
# So many of them before the sentence is too long to say.
MOST_CLAUSES = 2

# Way → how a no was said.
WAYS: Mapping[str, str] = {
    "text STOP": "{who} texted STOP",
    "unsubscribe link": "{who} unsubscribed by an email's link",
    "one-click unsubscribe": "{who} unsubscribed in the mail program",
    "text": "{who} texted STOP",
    "link": "{who} unsubscribed by an email's link",
    "one_click": "{who} unsubscribed in the mail program",
    "page": "{who} said so on the preference page",
    "provider": "{who} said so to the provider",
    "Twilio 21610": "{who} had texted STOP, as the provider says",
    "SendGrid unsubscribe": "{who} unsubscribed at the provider of our emails",
    "SendGrid group_unsubscribe": "{who} unsubscribed at the provider of our emails",
}

# Why a message that was decided was not sent, or did not arrive: gates' reasons, and classes of providers' errors.
ENDED: Mapping[str, str] = {
    "opted_out": "{who} had said no meanwhile",
    "hard_bounce": "the address is none that takes mail",
    "complaint": "{who} had reported our mail as spam",
    "carrier_block": "the carrier blocks the number",
    "manual": "the clinic's people blocked it",
    "consent_withdrawn": "{who} had withdrawn the consent meanwhile",
    "erased": "{who}'s record was erased meanwhile",
    "cancelled": "it, or what it was about, was cancelled meanwhile",
    "superseded": "a newer version took its place meanwhile",
    "arrived": "{who} had it by another way meanwhile",
    "send_not_after": "quiet hours had begun before it could go out",
    "expires_at": "its time had passed before it could be sent",
    "expired": "its time had passed before it could be sent",
    "no_answer": "the provider did not say whether it took it",
    "transient": "the provider did not take it in time",
    "throttled": "the provider did not take it in time",
    "permanent_recipient": "the number or address cannot be reached",
    "content_filtered": "a carrier or mail filter refused what it says",
    "media": "its picture could not be fetched, or was none that carriers take",
    "account": "our account at the provider is not in order",
    "sender_refused": "the provider does not let our number send",
    "unknown": "the provider gave a reason that we do not know",
}

# Status → what happened to one message; {message}: "text".
STATUSES: Mapping[str, str] = {
    "queued": "The {message} was ready, and waited for its turn",
    "sending": "The {message} was being handed over",
    "sent": "The provider took the {message}",
    "delivered": "The {message} arrived",
    "undelivered": "The {message} did not arrive",
    "failed": "The {message} did not go out",
    "bounced": "The {message} came back",
    "expired": "The {message} was not sent any more",
    "suppressed": "The {message} was stopped before it went out",
    "cancelled": "The {message} was stopped before it went out",
    "unknown": "Nobody knows whether the {message} went out",
    "read": "The {message} was read",
    "clicked": "A link in the {message} was followed",
    "complained": "The {message} was reported as spam",
    "unsubscribed": "The {message}'s reader unsubscribed",
    "acknowledged": "Somebody took it upon themselves",
}

_HOURS = re.compile(r"_(\d+)h$")


def kind_of(notification_type: str) -> str:
    """A type's name as one says it: ``appointment_reminder_24h`` → appointment reminder message (24 h before).

    A staff_message is a staff message.
    """
    hours = _HOURS.search(notification_type)
    name = _HOURS.sub("", notification_type).removesuffix("_message").replace("_", " ")
    return f"{name} message" + (f" ({hours[1]} h before)" if hours else "")


def who_is(recipient: str) -> str:
    """How one speaks of them without their name."""
    return "the patient" if recipient.startswith("patient:") else "the colleague"
