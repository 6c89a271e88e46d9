"""The committed description is the code's, and every route is guarded by a decision."""

from __future__ import annotations

import json

from click.testing import CliRunner

from api.app import all_routes
from api.openapi import openapi
from api.preference_model import Preferences
from api.routes import ANYBODY
from cli.api import COMMITTED, command


def test_the_committed_description_is_what_the_code_says() -> None:
    assert json.loads(COMMITTED.read_text()) == json.loads(json.dumps(openapi(all_routes())))
    assert CliRunner().invoke(command, ["openapi", "--check"]).exit_code == 0


def test_only_these_are_open_to_anybody() -> None:
    """Nothing is open by default: a new open route must be added here, by somebody who meant it."""
    described = {route.path for route in all_routes() if route.roles is ANYBODY and route.described}
    assert described == {"/healthz", "/readyz"}


def test_no_route_is_there_twice() -> None:
    routes = [(route.method, route.path) for route in all_routes()]
    assert len(set(routes)) == len(routes)


def test_the_preference_document_is_the_specifications() -> None:
    """Field for field; what is ours lies under ``ours``."""
    assert set(Preferences().model_dump(by_alias=True)) - {"ours"} == {
        *("patientId", "globalOptOut", "channels", "quietHours", "frequency", "categories", "language"),
        *("doNotDisturb", "updatedAt", "updatedBy", "consentRecorded", "consentDate"),
    }
    channels = Preferences().channels.model_dump(by_alias=True)
    assert {name: set(channel) for name, channel in channels.items()} == {
        "sms": {"enabled", "phoneNumber", "verified", "optIn"},
        "email": {"enabled", "emailAddress", "verified", "optIn"},
        "push": {"enabled", "optIn"},
        "in_app": {"enabled", "desktop", "sound"},
    }
    assert set(channels["push"]["optIn"]) == {"appointments", "waitlist", "messages", "marketing", "systemAlerts"}
    for channel in ("sms", "email"):
        assert set(channels[channel]["optIn"]) == {"transactional", "clinical", "marketing", "membership", "reviews"}
