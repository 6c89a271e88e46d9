"""Keywords exactly as carriers understand them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.webhooks.keywords import carriers_know, keyword

STOP = ("STOP", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT")


@pytest.mark.parametrize("word", STOP)
def test_every_word_that_stops(word: str) -> None:
    for text in (word, word.lower(), word.title(), f" {word}\n", f"{word}.", f"{word}!!", f'"{word}"', f"{word} 🛑"):
        assert keyword(text) == "stop", text


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("STOPALL", "stop_all"),
        ("stop all", "stop_all"),
        ("opt out", "stop"),
        ("Opt-Out", "stop"),
        ("Start", "start"),
        ("UNSTOP", "start"),
        ("yes", "yes"),
        ("Yes!", "yes"),
        ("help", "help"),
        ("C", "confirm"),
        ("c.", "confirm"),
        ("Confirm", "confirm"),
        ("R", "reschedule"),
        ("reschedule!", "reschedule"),
        ("Info?", "help"),
        ("ＳＴＯＰ", "stop"),  # full-width letters, as some keyboards write them
        ("stop\x00", "stop"),
        ("\u200bSTOP\ufeff", "stop"),  # invisible characters come with copied texts
    ],
)
def test_the_other_words(text: str, meaning: str) -> None:
    assert keyword(text) == meaning


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("Baja", "stop"),
        ("alto!", "stop"),
        ("Parar.", "stop"),
        ("darme de baja", "stop"),
        ("Ayuda", "help"),
        ("Sí", "confirm"),
        ("si", "confirm"),
        ("Si\u0301", "confirm"),  # an accent that was typed by itself
        ("CONFIRMO", "confirm"),
        ("¡Confirmar!", "confirm"),
        ("Cambiar", "reschedule"),
        ("reprogramar", "reschedule"),
    ],
)
def test_spanish_words_that_no_carrier_knows(text: str, meaning: str) -> None:
    assert keyword(text) == meaning
    assert not carriers_know(text)


@pytest.mark.parametrize(
    ("text", "known"),
    [
        *((word, True) for word in (*STOP, "stop all", "start", "YES", "help")),
        ("C", False),
        ("R", False),
        ("Hola", False),
    ],
)
def test_what_carriers_act_on_by_themselves(text: str, known: bool) -> None:
    assert carriers_know(text) is known


@pytest.mark.parametrize(
    "text",
    [
        "restart",
        "Cancelar",
        "sí, gracias",
        "la baja",
        "please stop by at 5",
        "STOP PLEASE",
        "don't stop",
        "stopping",
        "nonstop",
        "yes please",
        "yes, see you then",
        "Can you help me?",
        "the end",
        "st op",
        "S T O P",
        "1",
        "",
        " ",
        "...",
        "🛑",
        "ЅТОР",  # Cyrillic look-alikes: not the carrier's word either
        "STOP " * 40,
    ],
)
def test_what_is_a_message_for_people(text: str) -> None:
    assert keyword(text) is None


@given(st.text(max_size=200))
def test_no_text_breaks_it_and_only_whole_words_count(text: str) -> None:
    found = keyword(text)
    if found is not None:
        assert keyword(f"{text} now") is None
        assert keyword(f"x{text.strip()}") is None or not text.strip()[:1].isalnum()
