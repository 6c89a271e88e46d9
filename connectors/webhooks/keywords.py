"""What a text to one of our senders asks for, by the words that carriers know and those that our texts suggest. Pure.

A keyword is the whole text, or it is none: "restart" does not start, and "please stop by at 5" stops nothing. Letter case does
not count, nor what stands around the word (spaces, punctuation, emoji); the word itself is never guessed.
"""

from __future__ import annotations

import unicodedata
from typing import Literal

Keyword = Literal["stop", "stop_all", "start", "yes", "help", "confirm", "reschedule"]

# Twilio's words for toll-free and long numbers ("Twilio support for opt-out keywords", help.twilio.com 223134027). REVOKE and
# OPTOUT came with 47 CFR 64.1200(a)(10), which writes "opt out"; Telnyx takes "stop all", AWS "opt-out".
_WORDS: dict[str, Keyword] = {
    **dict.fromkeys(("STOP", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"), "stop"),
    "STOPALL": "stop_all",
    **dict.fromkeys(("START", "UNSTOP"), "start"),
    "YES": "yes",
    **dict.fromkeys(("HELP", "INFO"), "help"),
    # Our own: what reminders ask for. CANCEL is a STOP to carriers, so an appointment is never cancelled by a word.
    **dict.fromkeys(("C", "CONFIRM", "CONFIRMED"), "confirm"),
    **dict.fromkeys(("R", "RESCHEDULE"), "reschedule"),
}
# What our Spanish texts suggest ("responda C para confirmar", "STOP para darse de baja"). No carrier acts on these, or answers
# them. SÍ is no START as YES is, and CANCELAR is no STOP: in answer to a reminder it means the appointment, so people read it.
_SPANISH: dict[str, Keyword] = {
    **dict.fromkeys(("BAJA", "ALTO", "PARAR", "DARME DE BAJA"), "stop"),
    "AYUDA": "help",
    **dict.fromkeys(("SÍ", "SI", "CONFIRMAR", "CONFIRMO", "CONFIRMADA", "CONFIRMADO"), "confirm"),
    **dict.fromkeys(("CAMBIAR", "CAMBIARLA", "REPROGRAMAR"), "reschedule"),
}
_WRITTEN_APART = {"OPT OUT": "OPTOUT", "OPT-OUT": "OPTOUT", "STOP ALL": "STOPALL", "STOP-ALL": "STOPALL"}
# Longer texts are none; and nobody makes us normalise a novel.
_MAX_CHARACTERS = 64


def keyword(text: str) -> Keyword | None:
    """The keyword that the text is; None: it is a message for people."""
    word = _word(text)
    return _WORDS.get(word) or _SPANISH.get(word)


def carriers_know(text: str) -> bool:
    """Whether carriers act on that text by themselves, and answer it."""
    return _WORDS.get(_word(text)) not in (None, "confirm", "reschedule")


def _word(text: str) -> str:
    if len(text) > _MAX_CHARACTERS:
        return ""
    word = " ".join(_bare(unicodedata.normalize("NFKC", text)).upper().split())
    return _WRITTEN_APART.get(word, word)


def _bare(text: str) -> str:
    """Without what is neither letter nor digit at both ends."""
    start, end = 0, len(text)
    while start < end and not text[start].isalnum():
        start += 1
    while end > start and not text[end - 1].isalnum():
        end -= 1
    return text[start:end]
