"""Whatever is sent to a provider, it is accepted or refused in the provider's own form: never a failure of ours."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.loopback import fcm, sendgrid_errors, twilio_errors

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ADDRESS = st.fixed_dictionaries({"email": st.just("a@b.example") | JSON})
MAIL = st.fixed_dictionaries(
    {},
    optional={
        "personalizations": st.lists(
            st.fixed_dictionaries(
                {},
                optional={"to": st.lists(ADDRESS, max_size=2) | JSON, "cc": JSON, "custom_args": JSON, "subject": JSON},
            ),
            max_size=2,
        )
        | JSON,
        "from": ADDRESS | JSON,
        "subject": JSON,
        "content": st.lists(st.fixed_dictionaries({"type": JSON, "value": JSON}), max_size=2) | JSON,
        "custom_args": JSON,
        "template_id": JSON,
    },
)


@given(MAIL | JSON)
def test_sendgrid_accepts_or_refuses_any_json(mail: Any) -> None:
    refusals = []
    try:
        accepted = sendgrid_errors.check(orjson.dumps(mail))
    except sendgrid_errors.Refused as refused:
        refusals.append(refused)
    if refusals:
        assert refusals[0].status == 400
        assert all(error["message"] for error in refusals[0].errors)
    else:
        assert all(person["email"] for part in accepted["personalizations"] for person in part["to"])


@given(
    st.fixed_dictionaries(
        {"message": st.fixed_dictionaries({}, optional={"fid": JSON, "token": JSON, "data": JSON}) | JSON}
    )
    | JSON
)
def test_fcm_accepts_or_refuses_any_json(asked: Any) -> None:
    with contextlib.suppress(fcm.Refused):
        target, message, _ = fcm.check(orjson.dumps(asked))
        assert target in message.values()


@given(
    st.dictionaries(
        st.sampled_from(["To", "From", "Body", "MessagingServiceSid", "StatusCallback"]),
        st.text(max_size=20) | st.sampled_from(["+15551230001", "http://[", "https://luxe.example/"]),
    ),
    st.lists(st.text(max_size=10), max_size=3),
)
def test_twilio_accepts_or_refuses_any_form(form: dict[str, str], media: list[str]) -> None:
    codes = []
    try:
        to, sender = twilio_errors.check(form, media)
    except twilio_errors.Refused as refused:
        codes.append(refused.code)
    assert set(codes) <= set(twilio_errors.ERRORS)
    assert codes or (to and sender)


@pytest.mark.parametrize("code", sorted(twilio_errors.ERRORS))
def test_every_code_has_twilios_form_and_shows_no_whole_number(code: int) -> None:
    number = "+15551234567"
    body = orjson.loads(twilio_errors.error_body(code, 400, to=twilio_errors.masked(number)))
    assert set(body) == {"code", "message", "more_info", "status"}
    assert number not in body["message"]
    assert "{" not in body["message"]


@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        ("text/calendar; method=REQUEST", True),
        ("text/calendar;method=CANCEL", True),
        ("application/pdf", True),
        ("text/calendar; method=REQUEST; charset=utf-8", False),
        ("text/html; charset=utf-8", False),
        ("text/plain\r\nBcc: all@mail.example", False),
    ],
)
def test_sendgrid_takes_no_parameter_of_an_attachment_s_type_but_a_method(kind: str, taken: bool) -> None:
    mail = {
        "personalizations": [{"to": [{"email": "ana@mail.example"}]}],
        "from": {"email": "care@luxe.example"},
        "subject": "Your visit",
        "content": [{"type": "text/plain", "value": "plain"}],
        "attachments": [{"content": "QkVHSU4=", "filename": "visit.ics", "type": kind}],
    }
    with contextlib.nullcontext() if taken else pytest.raises(sendgrid_errors.Refused):
        sendgrid_errors.check(orjson.dumps(mail))
