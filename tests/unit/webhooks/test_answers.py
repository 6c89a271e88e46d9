"""Answers to keywords: one text each, in the person's language, safe to put into XML."""

from __future__ import annotations

from typing import get_args
from xml.etree import ElementTree

import pytest

from connectors.loopback.segments import segment_count
from connectors.webhooks.answers import SILENCE, AnswerTo, twiml


def told(xml: str) -> list[str | None]:
    return [message.text for message in ElementTree.fromstring(xml.encode()).findall("Message")]  # noqa: S314 - ours


@pytest.mark.parametrize("answer", get_args(AnswerTo))
@pytest.mark.parametrize("locale", ["en-US", "es-MX"])
def test_an_answer_is_one_text_of_one_segment(answer: AnswerTo, locale: str) -> None:
    [text] = told(twiml(answer, locale, "Luxe Medical Spa of Springfield", "(555) 010-0100"))
    assert text is not None
    assert text.startswith("Luxe Medical Spa of Springfield: ")
    assert segment_count(text) == 1, len(text)


def test_a_language_that_we_do_not_write_is_answered_in_english() -> None:
    assert told(twiml("help", "fr-CA", "Luxe", None)) == told(twiml("help", "en", "Luxe", None))
    assert told(twiml("help", "es", "Luxe", None)) != told(twiml("help", "en", "Luxe", None))


def test_a_clinic_s_name_cannot_end_the_answer() -> None:
    [text] = told(twiml("help", "en", "A </Message><Message>& B", "1<2"))
    assert text is not None
    assert text.startswith("A </Message><Message>& B: ")
    assert "1<2" in text


def test_saying_nothing_is_twiml_too() -> None:
    assert told(SILENCE) == []
