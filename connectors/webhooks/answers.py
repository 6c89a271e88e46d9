"""What is answered to a keyword by text, as TwiML: once, in the person's language, and past every suppression. Pure.

Who says STOP is told that it holds; that answer is the last text, and no marketing (47 CFR 64.1200(a)(12): within 5 minutes).
"""

from __future__ import annotations

from typing import Literal
from xml.sax.saxutils import escape

AnswerTo = Literal["stopped", "stopped_marketing", "started", "help", "which"]

# One GSM-7 segment each (which has é and ñ, but no á, í, ó or ú), with a clinic's name of up to 30 characters and its telephone.
_TEXTS: dict[str, dict[AnswerTo, str]] = {
    "en": {
        "stopped": "{clinic}: You are unsubscribed and get no more texts from this number. Reply START to get them again.",
        "stopped_marketing": "{clinic}: No more offers by text. Texts about your visits go on. Reply START to get offers again.",
        "started": "{clinic}: You get our texts again. Msg & data rates may apply. Reply HELP for help, STOP to end.",
        "help": "{clinic}: Texts about your visits.{phone} Msg & data rates may apply. Reply STOP to end.",
        "which": "{clinic}: There is more than one appointment, so our team will ask you which one you mean.{phone}",
    },
    "es": {
        "stopped": "{clinic}: Se cancelaron los mensajes de este remitente. Responda START para activarlos otra vez.",
        "stopped_marketing": "{clinic}: No le enviaremos ofertas. Los mensajes de sus citas siguen. Responda START para volver.",
        "started": "{clinic}: Los mensajes quedan activados. Pueden aplicar tarifas. HELP: ayuda, STOP: terminar.",
        "help": "{clinic}: Mensajes sobre sus citas.{phone} Pueden aplicar tarifas. Responda STOP para terminar.",
        "which": "{clinic}: Tiene varias citas con nosotros. Le preguntaremos de cual se trata.{phone}",
    },
}
_CALL = {"en": " Call {phone}.", "es": " Llame al {phone}."}
SILENCE = '<?xml version="1.0" encoding="UTF-8"?><Response/>'
_MAX_NAME_CHARACTERS = 40


def twiml(answer: AnswerTo, locale: str, clinic: str, phone: str | None) -> str:
    """The answer; in English for a language that we have no text in."""
    language = locale.partition("-")[0].lower()
    language = language if language in _TEXTS else "en"
    call = _CALL[language].format(phone=phone) if phone else ""
    text = _TEXTS[language][answer].format(clinic=clinic[:_MAX_NAME_CHARACTERS], phone=call)
    return f'<?xml version="1.0" encoding="UTF-8"?><Response><Message>{escape(text)}</Message></Response>'
