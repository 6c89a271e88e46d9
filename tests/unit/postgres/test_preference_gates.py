"""Which gates a change of preferences turns; and that what a message needs has one."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.postgres.preference_gates import keys, names, preference_gate, turned
from streams.catalog import Catalog
from streams.messages import preferences_needed

JANE = "patient:7"


def content(**changed: Any) -> dict[str, Any]:
    """A recipient who was asked, and left everything as it was but these."""
    preferences: dict[str, Any] = {}
    for name, default in names().items():
        group, _, field = name.partition(".")
        if field:
            preferences.setdefault(group, {})[field] = default
        else:
            preferences[group] = default
    for name, value in changed.items():
        group, _, field = name.partition("__")
        if field:
            preferences[group][field] = value
        else:
            preferences[group] = value
    return {"preferences": preferences}


NEVER_ASKED: dict[str, Any] = {"preferences": None}


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"global_opt_out": True}, "global_opt_out"),
        ({"sms_enabled": False}, "sms_enabled"),
        ({"email_opt_in__clinical": False}, "email_opt_in.clinical"),
        ({"category_financial": False}, "category_financial"),
        ({"frequency_reviews": "never"}, "frequency_reviews"),
    ],
)
def test_a_no_shuts_the_gate_of_its_name_and_a_yes_opens_it(changed: dict[str, Any], name: str) -> None:
    gate = preference_gate(JANE, name)
    assert turned(JANE, content(), content(**changed)) == ([gate], [])
    assert turned(JANE, NEVER_ASKED, content(**changed)) == ([gate], [])
    assert turned(JANE, content(**changed), content()) == ([], [gate])
    assert gate in keys([JANE])


def test_to_be_asked_and_to_say_what_held_anyway_turns_nothing() -> None:
    assert turned(JANE, NEVER_ASKED, content()) == ([], [])
    assert turned(JANE, {}, {}) == ([], [])
    assert turned(JANE, content(), content(frequency_marketing="monthly")) == ([], [])


def test_every_preference_that_a_message_needs_has_a_gate_and_what_is_essential_needs_none() -> None:
    needed = {
        (name, channel): preferences_needed(kind, channel)
        for name, kind in Catalog.load().types.items()
        for channel in kind.all_channels
    }
    assert {preference for found in needed.values() for preference in found} <= names().keys()
    assert needed["appointment_confirmation", "sms"] == []
    assert needed["win_back", "email"] == [
        "global_opt_out",
        "email_enabled",
        "email_opt_in.marketing",
        "category_marketing",
        "frequency_marketing",
    ]
