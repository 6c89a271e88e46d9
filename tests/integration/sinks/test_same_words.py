"""Several texts of the same words to one number, all in doubt at once: each is found out, none is taken for another."""

from __future__ import annotations

import pytest

from tests.integration.sinks.outgoing import Outbox
from tests.integration.sinks.rig import Rig

pytestmark = pytest.mark.integration


def test_each_of_the_same_words_is_a_message_of_its_own(rig: Rig, outbox: Outbox, patient: str) -> None:
    rig.ensure("sms")
    first = outbox.outgoing("sms", patient, {"body": "Your room is ready."}, essential=True)
    same = [outbox.outgoing("sms", patient, first.content, essential=True) for _ in range(5)]
    number = str(first.content["to"])
    rig.provider.misbehave(number, kind="receipts", mode="never")
    rig.provider.misbehave(number, kind="reset_after", rule_count=6)
    letters = len(rig.eye.dead_letters)
    outbox.send([first, *same])
    ends = [rig.eye.end(one.id) for one in (first, *same)]
    assert {end["status"] for end in ends} == {"sent"}
    assert len({end["provider_message_id"] for end in ends}) == 6
    assert len(rig.provider.messages(number)) == 6
    assert len(rig.eye.dead_letters) == letters
