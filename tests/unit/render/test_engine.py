"""Templates compiled, bound and rendered: sandbox, ceilings, and the plain ones the same as Jinja."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import escape

from streams.render.ceilings import CEILINGS, AboveCeilingError, TemplateError
from streams.render.engine import CompiledTemplate
from streams.render.sources import email_html, html_of, load_templates, variables_of
from streams.render.straight import straight
from streams.render.variables import Facts, event_fields
from streams.rules.person import Person

CREATED = "luxe.events.AppointmentCreated"
RECEIVED = "luxe.events.PaymentReceived"
CLINIC: dict[str, Any] = {
    "name": "Luxe & Co",
    "phone": None,
    "email": None,
    "address": None,
    "website": "javascript:alert(1)",
    "portal_url": "https://portal.example",
    "booking_url": None,
    "logo_url": None,
    "privacy_url": None,
    "service_names": {"Botox": "cosmetic treatment"},
    "generic_service_name": "appointment",
    "currency": "USD",
}
EVENT: dict[str, Any] = {
    "service": "Botox",
    "provider": None,
    "appointment_date": date(2026, 12, 24),
    "appointment_time": "14:00",
    "duration": 30,
}


def facts(event: dict[str, Any] | None = None, first_name: str = "Sarah") -> Facts:
    return Facts(
        event or EVENT, Person("patient:1", 1, first_name=first_name), CLINIC, "A-1", "en-US", "America/New_York"
    )


def template(channel: str, record: str = CREATED, **texts: str | None) -> CompiledTemplate:
    parts = {"subject": None, "html": None, **texts}
    row = {
        "template_id": "t",
        "channel": channel,
        "locale": "en",
        "version": 1,
        "variables": variables_of(parts, (record,)),
    }
    return CompiledTemplate({**row, **parts})


def said(text: str, first_name: str = "Sarah") -> str:
    return (
        template("in_app", subject="x", body="x", html=text).bound_to(CREATED).render(facts(None, first_name)).html
        or ""
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hi {{ first_name }}", "Hi Sarah"),
        ("{{ service }} / {{ service_generic }}", "Botox / cosmetic treatment"),
        ("{% if provider %}with {{ provider }}{% else %}with us{% endif %}", "with us"),
        ("{% if provider %}a{% elif service %}b{% else %}c{% endif %}", "b"),
        ("{{ first_name | upper }}", "SARAH"),
        ("{% for letter in first_name %}{{ letter }}.{% endfor %}", "S.a.r.a.h."),
        ("[{{ clinic_phone }}]", "[]"),
        ("[{{ clinic_website }}]", "[]"),  # not a link that anybody should follow
        ("{{ appointment_date }} {{ appointment_time }} {{ duration }} {{ reference }}", "Dec 24, 2026 2:00 PM 30 A-1"),
    ],
)
def test_what_is_said(text: str, expected: str) -> None:
    assert said(text) == expected


def test_money_has_the_events_currency() -> None:
    event = {"amount": Decimal("120"), "currency": "EUR"}
    compiled = template("in_app", RECEIVED, subject="x", body="x", html="{{ amount }}")
    assert compiled.bound_to(RECEIVED).render(facts(event)).html == "€120.00"


def test_values_are_escaped_in_html_and_nowhere_else() -> None:
    compiled = template("email", subject="{{ first_name }}", body="{{ first_name }}", html="<p>{{ first_name }}</p>")
    rendered = compiled.bound_to(CREATED).render(facts(first_name="<b>&"))
    assert (rendered.subject, rendered.body, rendered.html) == ("<b>&", "<b>&", "<p>&lt;b&gt;&amp;</p>")
    assert "<b>" not in repr(rendered)


@pytest.mark.parametrize(
    "text",
    [
        "{{ first_name.__class__.__mro__ }}",
        "{{ ''.__class__ }}",
        "{{ first_name.nothing }}",
        "{{ appointment_date.pop() }}",
        "{% for n in range(9) %}{{ first_name }}{% endfor %}",
    ],
)
def test_the_sandbox_holds_and_shows_no_value(text: str) -> None:
    with pytest.raises(TemplateError) as refusal:
        said(text)
    assert "Sarah" not in str(refusal.value)


def test_errors_name_the_template_and_its_line() -> None:
    with pytest.raises(TemplateError, match=r"body, line 2"):
        template("sms", body="x\n{% if first_name %}")
    with pytest.raises(TemplateError, match="there is no variable nobody"):
        template("sms", body="{{ nobody }}")
    with pytest.raises(TemplateError, match="email needs a subject"):
        template("email", body="x")


@pytest.mark.parametrize(
    ("channel", "part", "variable", "level"),
    [
        ("sms", "body", "service_generic", 2),
        ("email", "subject", "provider", 2),
        ("email", "body", "service", 3),
        ("email", "html", "service", 3),
        ("push", "body", "provider", 2),
        ("push", "subject", "service", 3),
        ("in_app", "body", "service", 3),
        ("in_app", "subject", "patient_name", 3),
    ],
)
def test_nothing_above_a_ceiling(channel: str, part: str, variable: str, level: int) -> None:
    texts: dict[str, Any] = {"subject": None if channel == "sms" else "x", "body": "x"} | {
        part: f"{{{{ {variable} }}}}"
    }
    with pytest.raises(AboveCeilingError) as refusal:
        template(channel, **texts)
    assert (refusal.value.variable, refusal.value.level) == (variable, level)
    assert f"{variable} is level {level}, {channel} {part} shows level" in str(refusal.value)


def test_a_declared_level_does_not_lower_the_schemas() -> None:
    row = {"template_id": "t", "channel": "sms", "locale": "en", "version": 1, "subject": None, "html": None}
    variable = {"name": "service", "type": "string", "level": 1}
    compiled = CompiledTemplate({**row, "body": "{{ service }}", "variables": [variable]})
    with pytest.raises(AboveCeilingError):
        compiled.bound_to(CREATED)


def test_every_committed_text_keeps_its_ceiling() -> None:
    for row in load_templates():
        compiled = CompiledTemplate(row)
        levels = {variable["name"]: variable["level"] for variable in row["variables"]}
        for part in ("subject", "body", "html"):
            if row[part]:
                names = set(re.findall(r"\{\{\s*(\w+)", row[part]))
                assert max((levels[name] for name in names), default=1) <= CEILINGS[row["channel"], part], (
                    compiled.where
                )


# Plain templates are rendered without Jinja, to the same text.

names = st.sampled_from(["a", "b", "c"])
texts = st.text(st.characters(exclude_characters="{}%#\r", exclude_categories=["Cs"]), max_size=8)


def blocks(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    choice = st.builds(
        lambda name, then, other, last: f"{{% if {name} %}}{then}{{% elif {other} %}}{last}{{% else %}}-{{% endif %}}",
        names,
        inner,
        names,
        inner,
    )
    return st.lists(choice | inner, max_size=3).map("".join)


plain_templates = st.recursive(texts | names.map(lambda name: f"{{{{ {name} }}}}"), blocks, max_leaves=12)
values = st.fixed_dictionaries({name: st.text(max_size=5) | st.booleans() for name in ("a", "b", "c")})


@settings(deadline=None)
@given(plain_templates, values, st.booleans())
def test_plain_templates_say_what_jinja_says(source: str, given_values: dict[str, Any], html: bool) -> None:
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=html)
    render = straight(environment.parse(source), escape if html else str)
    assert render is not None
    assert render(given_values) == environment.from_string(source).render(given_values)


# Email


def test_a_text_becomes_html() -> None:
    text = "Hi {{ first_name }} & co,\nsee {{ portal_url }}\n\n- one\n- two < 3\n\nhttps://x.example/?a=1&b=2"
    assert html_of(text) == (
        '<p>Hi {{ first_name }} &amp; co,<br>see <a href="{{ portal_url }}">{{ portal_url }}</a></p>'
        "<ul><li>one</li><li>two &lt; 3</li></ul>"
        '<p><a href="https://x.example/?a=1&amp;b=2">https://x.example/?a=1&amp;b=2</a></p>'
    )


def test_an_email_is_a_responsive_page_with_its_footer() -> None:
    html = email_html("Hello", None)
    assert html.startswith("<!doctype html>")
    assert "<p>Hello</p>" in html
    assert "@media" in html
    assert "{{ clinic_name }}" in html
    own = email_html(
        "", "<mj-text>Own <strong>text</strong></mj-text><mj-button href='{{ portal_url }}'>Go</mj-button>"
    )
    assert "Own <strong>text</strong>" in own
    assert 'href="{{ portal_url }}"' in own


def test_the_footer_speaks_the_texts_language() -> None:
    for mjml in (None, "<mj-text>Hola</mj-text>"):
        spanish = email_html("Hola", mjml, "es-US")
        assert ">Cancelar la suscripción</a>" in spanish
        assert ">Privacidad</a>" in spanish
        assert 'lang="es"' in spanish
        assert not [
            word for word in ("Unsubscribe", "UNSUBSCRIBE", "Privacy", "PRIVACY", "LANGUAGE") if word in spanish
        ]
    for locale in ("en", "en-US", "fr-CA"):
        english = email_html("Hello", None, locale)
        assert (">Unsubscribe</a>" in english, ">Privacy</a>" in english, 'lang="en"' in english) == (True, True, True)


def test_fields_of_events_have_types_and_levels() -> None:
    fields = event_fields(CREATED)
    assert fields["appointment_date"] == ("date", 1)
    assert fields["appointment_time"] == ("time", 1)
    assert fields["service"] == ("string", 3)
    assert event_fields(RECEIVED)["amount"] == ("money", 3)
    assert event_fields("luxe.events.MembershipCreditsAdded")["credits_added"][0] == "number"
    assert "metadata" not in fields
