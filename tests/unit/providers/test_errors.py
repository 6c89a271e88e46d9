"""The table of providers' error codes is whole, and what is not in it is still classed."""

from __future__ import annotations

import pytest
import yaml
from twilio.base.exceptions import TwilioRestException

from connectors import providers
from connectors.loopback.twilio_errors import ERRORS
from connectors.providers import sendgrid, twilio
from connectors.providers.outcome import ERROR_CLASSES, ErrorClass, error_class, reach, retry_after_seconds, smtp_class
from connectors.suppressing import reason_of


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (20003, "account"),
        (20429, "throttled"),
        (21211, "permanent_recipient"),
        (21610, "opted_out"),
        (21614, "permanent_recipient"),
        (30003, "transient"),
        (30005, "permanent_recipient"),
        (30007, "content_filtered"),
        (21620, "media"),
        (11751, "media"),
        (30034, "account"),
        (99999, None),
    ],
)
def test_twilio_codes(code: int, expected: str | None) -> None:
    assert error_class("twilio", code) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("5.1.1", "permanent_recipient"),
        ("5.1.99", "permanent_recipient"),
        ("5.1.8", "account"),
        ("5.2.1", "permanent_recipient"),
        ("5.2.2", "transient"),
        ("4.2.2", "transient"),
        ("4.7.1", "transient"),
        ("5.4.4", "transient"),
        ("5.4.1", "permanent_recipient"),
        ("5.5.0", "permanent_recipient"),
        ("5.5.2", "content_filtered"),
        ("5.7.1", "content_filtered"),
        ("5.7.26", "account"),
        ("5.0.0", None),
        ("2.0.0", None),
        ("", None),
    ],
)
def test_smtp_codes_by_themselves_or_their_family(status: str, expected: str | None) -> None:
    assert smtp_class(status) == expected


def test_every_class_stands_in_the_table_and_every_code_has_its_meaning() -> None:
    path = providers.__path__[0] + "/errors.yaml"
    with open(path, encoding="utf-8") as file:
        tables = yaml.safe_load(file)
    for provider, table in tables.items():
        assert set(table) <= set(ERROR_CLASSES), provider
        for codes in table.values():
            assert all(isinstance(meaning, str) and meaning for meaning in codes.values())
        codes = [str(code) for entries in table.values() for code in entries]
        assert len(codes) == len(set(codes)), f"{provider}: a code stands under two classes"


@pytest.mark.parametrize(
    ("provider", "kind", "code", "expected"),
    [
        ("twilio", "account", "20003", "account"),
        ("twilio", "account", "21606", "sender"),
        ("twilio", "account", "21408", "message"),  # a country that is not enabled: the others' texts go on
        ("twilio", "throttled", "20429", "account"),
        ("twilio", "throttled", "21611", "sender"),
        ("twilio", "account", "12345", "account"),
        ("twilio", "transient", "20503", "message"),
        ("sendgrid", "account", "401", "account"),
        ("fcm", "account", "UNAUTHENTICATED", "account"),
        ("fcm", "account", "SENDER_ID_MISMATCH", "message"),
        ("in_app", "account", "1", "account"),
    ],
)
def test_how_far_a_refusal_reaches(provider: str, kind: ErrorClass, code: str, expected: str) -> None:
    assert reach(provider, kind, code) == expected


def test_what_reaches_less_far_than_its_class_is_a_code_that_stands_under_it() -> None:
    path = providers.__path__[0] + "/reach.yaml"
    with open(path, encoding="utf-8") as file:
        tables = yaml.safe_load(file)
    for provider, table in tables.items():
        assert set(table) <= {"sender", "message"}
        for code in (code for entries in table.values() for code in entries):
            assert error_class(provider, code) in ("account", "throttled"), (provider, code)


def test_the_codes_that_the_loopback_provider_answers_are_known() -> None:
    without_a_class = {20001}  # "Invalid parameter" is our own defect
    assert {code for code in ERRORS if error_class("twilio", code) is None} <= without_a_class


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [(500, 12345, "transient"), (403, 12345, "account"), (400, 12345, "unknown"), (400, 21610, "opted_out")],
)
def test_a_code_that_is_not_in_the_table_goes_by_its_http_status(status: int, code: int, expected: str) -> None:
    assert twilio.class_of(TwilioRestException(status, "/uri", code=code)) == expected


@pytest.mark.parametrize(("status", "expected"), [(400, "content_filtered"), (599, "transient"), (418, "unknown")])
def test_sendgrid_statuses(status: int, expected: str) -> None:
    assert sendgrid.class_of(status) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [(None, None), ("12", 12.0), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None), ("²", None)],
)
def test_retry_after(header: str | None, expected: float | None) -> None:
    assert retry_after_seconds(header) == expected


def test_only_what_concerns_the_address_shuts_its_gate() -> None:
    assert {name for name in ERROR_CLASSES if reason_of(name) is not None} == {"permanent_recipient", "opted_out"}
