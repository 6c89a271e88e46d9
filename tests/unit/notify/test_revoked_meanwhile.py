"""A consent that is revoked while its message is being rendered: notify has looked already, the sink's gates have not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.postgres.gates import consent_gate
from sinks.runtime.gates import Gate, Gates, Verdict
from streams.render.engine import CompiledTemplate
from tests.notify_world import NOW, World

JANE = "patient:1"


def test_a_consent_revoked_while_its_message_is_being_rendered_stops_it_at_the_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    world.add_confirmation()
    world.add_recipient(JANE)
    in_the_sinks = Gates()
    look_up = world.templates.find

    def revoke() -> None:
        """The revocation's two records reach Kafka now; every view and every sink's gates follow at once."""
        said = {"consent_type": "sms_transactional", "status": "opted_out", "consent_date": NOW, "method": "electronic"}
        world.add_recipient(JANE, version=2, consents=[said])
        in_the_sinks.put(consent_gate(JANE, "sms_transactional"), Gate("opted_out", None, None, NOW))

    def find_while_she_revokes(*wanted: Any) -> CompiledTemplate:
        revoke()
        return look_up(*wanted)

    monkeypatch.setattr(world.templates, "find", find_while_she_revokes)
    outputs = world.ask(world.request(world.created(1)))

    # Decided and rendered by what was known before: both messages are on their way to the sinks.
    (decision,) = world.decisions(outputs)
    assert (decision["outcome"], decision["recipient_version"]) == ("deliver", 1)
    text, mail = world.messages(outputs)
    now = datetime.now(UTC)
    assert in_the_sinks.verdict(text, "a1" * 16, now) == Verdict("suppressed", "consent_withdrawn")
    assert in_the_sinks.verdict(mail, "a1" * 16, now) is None

    # The next event's decision knows it.
    (later,) = world.decisions(world.ask(world.request(world.created(2))))
    assert later["recipient_version"] == 2
    assert "sms" not in {step["channel"] for step in later["steps"]}
