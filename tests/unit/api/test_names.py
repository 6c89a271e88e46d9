"""Names of the catalogue in documents: what nobody has heard of is told by its place, and what stood there may stay."""

from __future__ import annotations

from typing import get_args

from api import what_if
from api.names import MEND_WORD, unknown
from api.preference_conflicts import unknown_exceptions
from api.preference_model import DigestCategory, Preferences
from streams.catalog import Catalog
from streams.rules.terms import Terms

NAMES = what_if.names()


def test_names_are_the_catalogues() -> None:
    kinds = Catalog.load().types
    assert NAMES.types == kinds.keys()
    assert NAMES.categories == {kind.category for kind in kinds.values()}
    # The specification's own examples are among them.
    assert {"critical", "appointment_reminders"} <= NAMES.words
    assert {word for kind in kinds.values() for word in Terms.of(kind).words} == NAMES.words


def test_an_unknown_name_is_told_by_its_place_and_never_itself() -> None:
    (wrong,) = unknown("exceptions", ["critical", "Jane Roe"], (), NAMES.words, MEND_WORD)
    assert wrong.field == "exceptions.1"
    assert "Jane" not in str(wrong)


def test_what_stood_there_before_may_be_sent_back() -> None:
    """A type that left the catalogue does not make a document unusable."""
    before = Preferences().model_dump(by_alias=True)
    before["quietHours"]["exceptions"] = ["a_type_of_last_year"]
    wanted = Preferences.model_validate(before)
    assert list(unknown_exceptions(wanted, before, NAMES.words)) == []
    before["quietHours"]["exceptions"] = []
    assert [one.field for one in unknown_exceptions(wanted, before, NAMES.words)] == ["quietHours.exceptions.0"]


def test_a_digest_is_offered_for_the_categories_in_which_one_can_carry_something() -> None:
    carried = {
        kind.preference_category
        for kind in Catalog.load().types.values()
        if kind.recipient_kind == "patient" and not kind.essential and kind.consent_scope != "marketing"
    }
    assert carried - {None} == set(get_args(DigestCategory))
