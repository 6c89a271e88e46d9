"""What `luxe status` says of providers that are paused."""

from __future__ import annotations

from pathlib import Path

from cli.status import pauses
from connectors.readiness import read_standing, tell_standing
from connectors.settings import Settings
from connectors.stack.control import ServiceStatus


def service(name: str, state: str = "ready") -> ServiceStatus:
    return ServiceStatus(name, state, 1, 0, 0, 0, None, None, "")


def breaker(state: str) -> dict[str, object]:
    return {"subject": "account", "state": state, "cause": "account", "code": "20003", "since": "2026-03-01T12:00:00"}


def test_a_paused_provider_has_a_line_and_one_that_works_has_none(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    tell_standing(settings, "sms", {"provider": "twilio", "breakers": [breaker("open")]})
    tell_standing(settings, "email", {"provider": "sendgrid", "breakers": [breaker("closed")]})
    found = list(pauses(tmp_path, [service("sms"), service("email"), service("kafka")]))
    assert found == [
        "sms: twilio's account is paused since 2026-03-01T12:00:00 (account, code 20003); messages wait, see "
        "docs/runbooks/delivery.md"
    ]
    assert list(pauses(tmp_path, [service("sms", "dead")])) == []


def test_a_standing_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    tell_standing(settings, "sms", {})
    (tmp_path / "standing" / "sms.json").write_text("{")
    assert read_standing(tmp_path, "sms") is None
    (tmp_path / "standing" / "sms.json").write_text("[]")
    assert read_standing(tmp_path, "sms") is None
    assert read_standing(tmp_path, "email") is None
