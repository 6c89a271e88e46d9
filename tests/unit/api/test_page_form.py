"""The page: its texts in both languages, what its switches show, what a sent form means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from api import page_form
from api.page_form import CHOICES, SWITCHES, FormError
from api.page_rendering import INBOX, LANGUAGES, PLAIN, hours, language_of, notice, page, texts
from api.preference_conflicts import contradictions
from api.preference_model import Preferences, get
from connectors.postgres.recipients import Recipient
from connectors.unsubscribing.wishes import Said
from streams.rules.person import NEVER_ASKED

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ZONE = ZoneInfo("America/New_York")
SAID = Said("patient:1", "preferences page", NOW, "preferences-page-1")


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        for name, part in tree.items():
            yield from leaves(part, f"{path}.{name}")
    elif isinstance(tree, list):
        for number, part in enumerate(tree):
            yield from leaves(part, f"{path}.{number}")
    else:
        yield path, tree


def consent(consent_type: str, status: str, **fields: Any) -> dict[str, Any]:
    return {"consent_type": consent_type, "status": status, "expires_at": None, "source": "form"} | fields


def patient(*consents: dict[str, Any], preferences: dict[str, Any] | None = None) -> Recipient:
    return Recipient(
        "patient:1", "c1", {"locale": "es-MX", "consents": list(consents), "preferences": preferences}, version=3
    )


def sent(found: Mapping[str, Any], **changes: Any) -> dict[str, str]:
    """The form as a browser sends it back."""
    values = page_form.fields(found, ZONE) | {name.replace("__", "."): value for name, value in changes.items()}
    return {path: "on" if value is True else str(value) for path, value in values.items() if value is not False}


def test_both_languages_say_the_same_things() -> None:
    english, spanish = (dict(leaves(texts(language))) for language in LANGUAGES)
    assert english.keys() == spanish.keys()
    for path, text in [*english.items(), *spanish.items()]:
        assert isinstance(text, str), path
        assert text.strip(), path


@pytest.mark.parametrize(
    ("locale", "asked", "language"),
    [
        ("es-MX", None, "es"),
        ("es", "en", "en"),
        ("fr-CA", None, "en"),
        (None, None, "en"),
        ("en", "xx", "en"),
        ("es", "<", "es"),
    ],
)
def test_the_language_is_asked_for_or_the_person_s(locale: str | None, asked: str | None, language: str) -> None:
    assert language_of(locale, asked) == language


def test_a_form_sent_back_as_it_was_shown_changes_nothing() -> None:
    found = page_form.shown(patient(), NOW)
    assert page_form.meant(sent(found), found, ZONE) == found
    assert page_form.consents_of(found, found, SAID) == []
    assert list(contradictions(Preferences.model_validate(found), found, NOW)) == []


@pytest.mark.parametrize("path", SWITCHES)
def test_every_switch_switches_its_own_field_only(path: str) -> None:
    found = page_form.shown(patient(), NOW)
    turned = not get(found, path)
    wanted = page_form.meant(sent(found) | {path: "on"} if turned else _without(sent(found), path), found, ZONE)
    changed = {one for one in SWITCHES if get(wanted, one) != get(found, one)}
    assert changed == {path}
    assert page_form.narrowed(found, wanted) == ((path == "globalOptOut") == turned)


def _without(form: dict[str, str], path: str) -> dict[str, str]:
    return {name: value for name, value in form.items() if name != path}


@pytest.mark.parametrize("path", [*CHOICES, page_form.DIGEST_HOUR, "language"])
def test_what_was_not_offered_is_refused(path: str) -> None:
    found = page_form.shown(patient(), NOW)
    for wrong in ("always!", "<script>"):
        with pytest.raises(FormError):
            page_form.meant(sent(found) | {path: wrong}, found, ZONE)


OPTED: dict[str, Any] = {
    **NEVER_ASKED, "in_app_desktop": True, "in_app_sound": True, "consent_recorded": False, "consent_date": None,
    "updated_at": NOW, "updated_by": "patient:1",
}  # fmt: skip


def disturbing(until: datetime | None) -> dict[str, Any]:
    """The page's document of somebody who is not to be disturbed."""
    stored = OPTED | {"do_not_disturb": True, "do_not_disturb_until": until}
    return page_form.shown(patient(preferences=stored), NOW)


def wrong(found: dict[str, Any], form: dict[str, str]) -> list[str]:
    wanted = Preferences.model_validate(page_form.meant(form, found, ZONE))
    return [*page_form.unclear(form, found, ZONE), *(one.field for one in contradictions(wanted, found, NOW))]


def test_do_not_disturb_lasts_to_the_end_of_its_last_day_by_the_readers_clocks() -> None:
    found = page_form.shown(patient(), NOW)
    form = sent(found) | {"doNotDisturb.enabled": "on", "doNotDisturb.until": "2026-12-24"}
    wanted = page_form.meant(form, found, ZONE)
    assert wanted["doNotDisturb"] == {"enabled": True, "until": datetime(2026, 12, 25, 5, tzinfo=UTC)}
    assert page_form.fields(wanted, ZONE)["doNotDisturb.until"] == "2026-12-24"
    assert wrong(found, form) == []
    # Today still counts; yesterday, more than a year ahead, no day, and a day without the box, are told.
    assert wrong(found, form | {"doNotDisturb.until": "2026-11-24"}) == []
    for text in ("2026-11-23", "2027-12-24", "24/12/2026", "soon", "9999-12-31"):
        assert wrong(found, form | {"doNotDisturb.until": text}) == ["doNotDisturb.until"], text
    assert wrong(found, _without(form, "doNotDisturb.enabled")) == ["doNotDisturb.until"]
    assert page_form.meant(form | {"doNotDisturb.until": ""}, found, ZONE)["doNotDisturb"]["until"] is None


def test_an_end_that_was_not_touched_stays_to_the_minute_and_goes_with_its_box() -> None:
    until = datetime(2026, 12, 1, 15, 30, tzinfo=UTC)
    found = disturbing(until)
    assert page_form.fields(found, ZONE)["doNotDisturb.until"] == "2026-12-01"
    assert page_form.meant(sent(found), found, ZONE) == found
    off = _without(sent(found), "doNotDisturb.enabled")
    assert page_form.meant(off, found, ZONE)["doNotDisturb"] == {"enabled": False, "until": None}
    assert wrong(found, off) == []
    # One that ended long ago is no fault of whoever changes something else.
    over = disturbing(NOW - timedelta(days=9))
    assert wrong(over, sent(over) | {"frequency.reviews": "never"}) == []


def test_what_is_told_together_and_when() -> None:
    found = page_form.shown(patient(), NOW)
    form = sent(found) | {"ours.digest.financial": "on", "ours.digest.treatments": "on", "ours.digest.hour": "18"}
    wanted = page_form.meant(form, found, ZONE)
    assert wanted["ours"]["digest"] == {"categories": ["treatments", "financial"], "hour": 18}
    stored = OPTED | {"digest_categories": ["financial", "treatments"], "digest_hour": 0}
    kept = page_form.shown(patient(preferences=stored), NOW)
    assert page_form.meant(sent(kept), kept, ZONE) == kept
    assert page_form.fields(kept, ZONE)["ours.digest.hour"] == "0"
    none = _without(_without(sent(kept), "ours.digest.financial"), "ours.digest.treatments") | {"ours.digest.hour": ""}
    assert page_form.meant(none, kept, ZONE)["ours"]["digest"] == {"categories": [], "hour": None}


def test_hours_are_said_as_people_say_them() -> None:
    assert hours("en")["18"].replace("\u202f", " ") == "6:00 PM"
    assert hours("es")["0"].startswith("12:00")
    assert list(hours("en")) == list(page_form.HOURS[1:])


def test_an_empty_post_is_no_form() -> None:
    with pytest.raises(FormError):
        page_form.meant({}, page_form.shown(patient(), NOW), ZONE)


def test_marketing_shows_what_holds_and_switching_it_on_is_a_fresh_opt_in() -> None:
    for consents in (
        (),
        (consent("sms_marketing", "opted_out"),),
        (consent("sms_marketing", "opted_in", expires_at=NOW - timedelta(days=1)),),
    ):
        found = page_form.shown(patient(*consents), NOW)
        assert found["channels"]["sms"]["optIn"]["marketing"] is False
        wanted = page_form.meant(sent(found) | {"channels.sms.optIn.marketing": "on"}, found, ZONE)
        [given] = page_form.consents_of(found, wanted, SAID)
        assert (given["consent_type"], given["status"], given["method"]) == ("sms_marketing", "opted_in", "electronic")
        assert (given["source"], given["text_version"], given["consent_date"]) == (SAID.source, SAID.text_version, NOW)


def test_a_channel_that_was_closed_by_a_link_is_opened_by_its_switch() -> None:
    found = page_form.shown(patient(consent("email_transactional", "opted_out")), NOW)
    assert found["channels"]["email"]["enabled"] is False
    wanted = page_form.meant(sent(found) | {"channels.email.enabled": "on"}, found, ZONE)
    assert [(one["consent_type"], one["status"]) for one in page_form.consents_of(found, wanted, SAID)] == [
        ("email_transactional", "opted_in")
    ]


class Outline(HTMLParser):
    """What assistive technology sees of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.labelled: set[str] = set()
        self.controls: list[dict[str, str | None]] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.lang: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        if given.get("id"):
            self.ids.append(str(given["id"]))
        if tag == "html":
            self.lang = given.get("lang")
        if tag == "label":
            self.labelled.add(str(given["for"]))
        if tag in ("input", "select") and given.get("type") != "hidden":
            self.controls.append(given)


def body_of(response: Any) -> str:
    return str(response.text)


def preferences_page(language: str, **changes: Any) -> str:
    found = page_form.shown(patient(), NOW)
    values: dict[str, Any] = {
        "clinic": "Luxe <Spa>", "version": 3, "values": page_form.fields(found, ZONE),
        "languages": {"": "–", **page_form.LANGUAGES, "es-MX": "es-MX"}, "problems": [], "outdated": False, "saved": False,
        "stopped": False, "hours": {"": "–", **hours(language)},
    }  # fmt: skip
    return body_of(page("preferences", language, **(values | changes)))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_control_has_a_label_every_id_is_one_and_nothing_runs(language: str) -> None:
    unsubscribe = body_of(
        page("unsubscribe", language, clinic="Luxe", channel="email", category="marketing", problem=True)
    )
    for html in (
        preferences_page(language),
        preferences_page(language, problems=["quietHours.end"], outdated=True, saved=True, stopped=True),
        unsubscribe,
        body_of(notice("done", language, 200)),
    ):
        outline = Outline(html)
        assert outline.lang == language
        assert outline.tags.count("h1") == outline.tags.count("main") == outline.tags.count("title") == 1
        assert {str(control["id"]) for control in outline.controls} == outline.labelled
        assert len(set(outline.ids)) == len(outline.ids)
        assert not {"script", "img", "iframe", "link"} & set(outline.tags)
        assert " style=" not in html
        assert " on" not in " ".join(name for control in outline.controls for name in control)
    assert "Luxe &lt;Spa&gt;" in preferences_page(language)


def test_the_page_has_every_switch_and_choice() -> None:
    names = {str(control["name"]) for control in Outline(preferences_page("en")).controls}
    assert names == {*page_form.BOXES, *page_form.TYPED}


def test_a_page_may_do_nothing_but_be_read_and_posted_back() -> None:
    response = notice("expired", "en", 410)
    assert response.headers["Content-Security-Policy"] == PLAIN.policy
    for look in (PLAIN, INBOX):
        assert "default-src 'none'" in look.policy
        assert "form-action 'self'" in look.policy
        assert "unsafe" not in look.policy
    assert "script-src" not in PLAIN.policy
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cache-Control"] == "no-store"
