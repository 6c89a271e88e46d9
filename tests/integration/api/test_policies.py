"""A clinic's policy over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.kafka import read_to_end
from connectors.postgres.records import Records
from connectors.settings import Settings
from schemas.topics import POLICIES
from tests.integration.api.conftest import Api

pytestmark = pytest.mark.integration

PATH = "/v1/clinics/c1/policy"
POLICY = {"name": "Luxe", "timeZone": "America/New_York", "quietHours": {"start": "21:00", "end": "08:00"}}


@pytest.mark.usefixtures("relay")
async def test_made_read_patched_and_in_kafka(api: Api, records: Records, settings: Settings) -> None:
    boss, desk = api.caller("admin", "a", "c1"), api.caller("staff", "s", "c1")
    assert (await desk("GET", PATH)).status == 404
    assert (await boss("PUT", PATH, POLICY)).status == 428
    assert (await boss("PUT", PATH, POLICY, If_Match="*")).status == 412
    made = await boss("PUT", PATH, POLICY, If_None_Match="*")
    assert made.status == 200, made.json
    assert (made.json["version"], made.json["updatedBy"], made.json["locale"]) == (1, "admin:a", "en-US")
    assert (await boss("PUT", PATH, POLICY | {"name": "Other"}, If_None_Match="*")).status == 412
    patched = await boss(
        "PATCH",
        PATH,
        {
            "disabledTypes": ["review_request"],
            "smsCareSender": "+15005550006",
            "holidays": ["2026-12-25"],
            "timings": [{"notificationType": "pre_visit_instructions", "services": ["Peel"], "offset": "P4D"}],
        },
        content_type="application/merge-patch+json",
        If_Match=made.etag,
    )
    assert patched.status == 200, patched.json
    assert patched.json["quietHours"] == {"start": "21:00", "end": "08:00", "exceptions": []}
    (moved,) = patched.json["timings"]
    assert (moved["notificationType"], moved["offset"], moved["notBefore"]) == ("pre_visit_instructions", "P4D", None)
    assert (await boss("PATCH", PATH, {"name": "x"}, If_Match=made.etag)).status == 412
    again = await boss(
        "PATCH", PATH, {"phone": "+12125550100"}, content_type="application/merge-patch+json", If_Match="*"
    )
    assert (again.status, again.json["timings"]) == (200, patched.json["timings"])
    patched = again
    assert (await desk("GET", PATH)).json == patched.json
    newest = [m for m in read_to_end(settings, [POLICIES]) if m.key() == b"c1"][-1].value()
    stored = records.codec.decode(newest).value
    assert (stored["disabled_types"], stored["sms_care_sender"]) == (["review_request"], "+15005550006")


@pytest.mark.usefixtures("relay")
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"timeZone": "Mars/Olympus"}, "timeZone"),
        ({"locale": "?"}, "locale"),
        ({"quietHours": {"start": "21:00", "end": "21:00"}}, "quietHours.end"),
        ({"quietHours": {"start": "9pm", "end": "21:00"}}, "quietHours.start"),
        ({"openWeekdays": [1, 9]}, "openWeekdays"),
        ({"openWeekdays": []}, "openWeekdays"),
        ({"timings": [{"notificationType": "review_request", "offset": "P9D"}]}, "timings.0.offset"),
        ({"timings": [{"notificationType": "review_request", "notBefore": "12:00"}]}, "timings.0.notAfter"),
        ({"holidays": ["Christmas"]}, "holidays.0"),
        ({"disabledChannels": ["fax"]}, "disabledChannels.0"),
        ({"dailyCap": -1}, "dailyCap"),
        ({"wrappedKey": "AA"}, "wrappedKey"),
        # Names that the catalogue does not have would switch off, except, bundle or cap nothing.
        ({"disabledTypes": ["review_request", "reveiw_request"]}, "disabledTypes.1"),
        ({"digestCategories": ["clinic"]}, "digestCategories.0"),
        ({"categoryCaps": {"offers": 1}}, "categoryCaps.0"),
        ({"quietHours": {"start": "21:00", "end": "08:00", "exceptions": ["reminders"]}}, "quietHours.exceptions.0"),
    ],
)
async def test_what_no_policy_can_say(api: Api, change: dict[str, Any], field: str) -> None:
    reply = await api.caller("admin", "a", "c1")("PUT", PATH, POLICY | change, If_None_Match="*")
    assert (reply.status, reply.fields) == (422, [field]), reply.json


async def test_only_admins_of_the_clinic_change_it(api: Api) -> None:
    for caller in (api.caller("staff", "s", "c1"), api.caller("admin", "a", "c2"), api.caller("patient", "p")):
        assert (await caller("PUT", PATH, POLICY, If_None_Match="*")).status == 404
    assert (await api.caller("admin", "a", "c1")("GET", "/v1/clinics/*/policy")).status == 404
