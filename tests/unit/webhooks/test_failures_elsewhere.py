"""How other systems misread what patients write, each as a test that is named by it: docs/failures-elsewhere.md."""

from __future__ import annotations

import pytest

from connectors.webhooks.keywords import keyword


@pytest.mark.parametrize("text", ["restart", "please restart my account", "start over"])
def test_restart_does_not_resubscribe(text: str) -> None:
    """Parcelvoy looks whether the text contains the word: "restart" subscribes again."""
    assert keyword(text) != "start"


@pytest.mark.parametrize("text", ["please stop by at 5", "don't stop the cream yet?", "nonstop itching since Monday"])
def test_a_sentence_with_stop_in_it_is_no_opt_out(text: str) -> None:
    """Parcelvoy: `includes('stop')`. The patient who asks something gets no reminders any more, and no answer."""
    assert keyword(text) is None


@pytest.mark.parametrize("text", ["stop", "quit", "end", "revoke", "opt out", "cancel", "unsubscribe"])
def test_every_word_of_the_fcc_is_an_opt_out(text: str) -> None:
    """47 CFR § 64.1200(a)(10) names seven; Mautic knows STOP alone."""
    assert keyword(text) == "stop"
