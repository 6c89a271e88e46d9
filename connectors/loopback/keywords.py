"""Twilio's own dealing with STOP, START and HELP: what it takes for one, what it answers, and what our TwiML has it send."""

from __future__ import annotations

import re
from typing import Literal
from xml.etree import ElementTree

from connectors.loopback.receipts import Posted

# https://help.twilio.com/articles/223134027
_STOP = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"})
_START = frozenset({"START", "YES", "UNSTOP"})
_HELP = frozenset({"HELP", "INFO"})
# What Twilio answers to them by itself.
OWN_ANSWERS = {
    "STOP": "You have successfully been unsubscribed. You will not receive any more messages from this number. "
    "Reply START to resubscribe.",
    "START": "You have successfully been re-subscribed to messages from this number. Reply HELP for help. "
    "Reply STOP to unsubscribe. Msg&Data Rates May Apply.",
    "HELP": "Reply STOP to unsubscribe. Msg&Data Rates May Apply.",
}


def keyword(body: str, *, blocked: bool) -> Literal["STOP", "START", "HELP"] | None:
    """What Twilio takes a text for. YES starts only for a number that is ``blocked``."""
    word = re.sub(r"[^A-Z]", "", body.upper())
    if word in _STOP:
        return "STOP"
    if word in _START and (blocked or word != "YES"):
        return "START"
    return "HELP" if word in _HELP else None


def twiml_messages(posted: Posted) -> list[str]:
    """What our webhook's answer tells Twilio to send."""
    if not 200 <= posted.status < 300 or not posted.body:
        return []
    try:
        messages = ElementTree.fromstring(posted.body).findall("Message")  # noqa: S314 - our own webhook wrote it
    except ElementTree.ParseError:
        return []  # Twilio notes error 12100 and sends nothing
    return [message.text or "" for message in messages]
