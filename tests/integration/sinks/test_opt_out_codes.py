"""A no that was said to the provider: its gate, the consents of all who share the address and their history, once, together."""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec

from connectors.postgres import recipients
from connectors.postgres.pool import open_pool
from connectors.postgres.recipients import Recipient
from connectors.settings import Settings
from tests.integration.sinks.outgoing import CLINIC, Outbox, default_content
from tests.integration.sinks.rig import Rig, free_port, wait_for, webhooks
from tests.integration.sinks.test_webhooks import event, own, post_email, post_sms, sent, signing_key, with_port
from tests.integration.stores import relaying

pytestmark = pytest.mark.integration
__all__ = ["own", "signing_key"]

GIVEN_AT = datetime(2026, 3, 1, tzinfo=UTC)


def people_at(outbox: Outbox, channel: str, *, number: int = 2) -> tuple[str, list[str]]:
    """A new address, and so many patients who share it and agreed to everything by that channel."""
    address = str(default_content(channel, "")["to"])
    who = [f"patient:{uuid.uuid4()}" for _ in range(number)]
    on = dict.fromkeys(("transactional", "clinical", "marketing", "membership", "reviews"), True)
    given = {"status": "opted_in", "consent_date": GIVEN_AT, "method": "written", "source": "form"}
    content: dict[str, Any] = {
        "preferences": {"sms_opt_in": on, "email_opt_in": on, "push_opt_in": {}},
        "consents": [{"consent_type": f"{channel}_{kind}", **given} for kind in ("marketing", "transactional")],
        "phones": [{"e164": address, "verified": True}] if channel == "sms" else [],
        "emails": [{"address": address, "verified": True}] if channel == "email" else [],
    }

    async def register() -> None:
        async with open_pool(outbox.settings, "tests", size=1) as pool, pool.connection() as connection:
            rows = [Recipient(one, CLINIC, content) for one in who]
            await recipients.upsert_many(connection, outbox.records, rows, "tester")
        await outbox.make_keys(who)

    asyncio.run(register())
    return address, who


class Known:
    """What Postgres knows of one address and those who share it."""

    def __init__(self, rig: Rig, outbox: Outbox, channel: str, address: str, who: Sequence[str]) -> None:
        self._dsn = rig.settings.postgres_dsn.get_secret_value()
        self._channel, self._who = channel, list(who)
        self.hash = outbox.records.ring.address_hash(channel, address)

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._dsn) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def shut(self) -> list[str]:
        """The classes of sender that may not write to it."""
        query = "SELECT split_part(gate_key, ':', 3) FROM suppressions WHERE gate_key LIKE %s AND reason = 'opted_out'"
        return [name for (name,) in self.rows(query, f"address:{self._channel}:%:{self.hash}")]

    def consents(self) -> set[tuple[tuple[str, str, bool], ...]]:
        """Of each of them every status and source of the marketing consent, and whether it names the address; alike or not."""
        found: dict[str, list[tuple[str, str, bool]]] = {one: [] for one in self._who}
        for recipient, status, source, address_hash in self.rows(
            """SELECT recipient, status, source, address_hash FROM consents
               WHERE recipient = ANY(%s) AND consent_type = %s ORDER BY id""",
            self._who,
            f"{self._channel}_marketing",
        ):
            found[recipient].append((status, source, address_hash == self.hash))
        return {tuple(one) for one in found.values()}

    def withdrawn(self) -> set[str]:
        """Consents that their gates say are withdrawn."""
        keys = [f"consent:{one}:{self._channel}_{kind}" for one in self._who for kind in ("marketing", "transactional")]
        rows = self.rows("SELECT gate_key FROM suppressions WHERE gate_key = ANY(%s)", keys)
        return {key.rpartition(":")[2] for (key,) in rows}

    def acts(self) -> list[tuple[Any, ...]]:
        """The history of acts at the address: what, by which way, for which senders, of how many people."""
        return self.rows(
            "SELECT action, path, scope, cardinality(recipients) FROM opt_outs WHERE address_hash = %s ORDER BY id",
            self.hash,
        )

    def told(self) -> int:
        """Rows of the outbox about them, published or not."""
        [(count,)] = self.rows("SELECT count(*) FROM outbox WHERE key = ANY(%s)", [one.encode() for one in self._who])
        return int(count)


AGREED = ("opted_in", "form", False)


def test_twilio_refuses_a_call_because_of_a_stop(rig: Rig, outbox: Outbox) -> None:
    """To the sender of care: marketing ends too, as where the STOP itself is heard. Refused again, nothing is written twice."""
    rig.ensure("sms")
    number, who = people_at(outbox, "sms")
    known = Known(rig, outbox, "sms", number, who)
    before = known.told()
    rig.provider.misbehave(number, kind="twilio_error", code=21610)
    for _ in range(2):
        message = outbox.outgoing("sms", who[0], {"to": number})
        outbox.send([message])
        assert rig.eye.end(message.id)["error_code"] == "21610"
        assert known.shut() == ["care"]
        assert known.consents() == {(AGREED, ("opted_out", "Twilio 21610", True))}
        assert known.withdrawn() == {"sms_marketing"}
        assert known.acts() == [("out", "provider", "sender:care", 2)]
        assert known.told() == before + 2


def test_a_receipt_tells_of_a_stop_and_a_start_takes_it_back_for_good(rig: Rig, outbox: Outbox) -> None:
    rig.ensure("sms")
    number, who = people_at(outbox, "sms")
    known = Known(rig, outbox, "sms", number, who)
    rig.provider.misbehave(number, kind="undelivered", code=21610, rule_count=1)
    message = outbox.outgoing("sms", who[0], {"to": number}, sender_class="marketing")
    outbox.send([message])
    message_id = str(rig.eye.status(message.id, "undelivered")["provider_message_id"])
    out = ("opted_out", "Twilio 21610", True)
    assert (known.shut(), known.consents()) == (["marketing"], {(AGREED, out)})
    sender = rig.settings.twilio_marketing_sender
    again = {"ErrorCode": "21610", "To": number, "From": sender}
    assert post_sms(rig.settings, message_id, "undelivered", **again) == 204
    assert (known.consents(), known.acts()) == ({(AGREED, out)}, [("out", "provider", "sender:marketing", 2)])
    with relaying(rig.settings):
        rig.provider.inbound({"from": number, "to": sender, "body": "START"})
    back = {(AGREED, out, ("opted_in", "text START", True))}
    assert (known.shut(), known.consents(), known.withdrawn()) == ([], back, set())
    # Twilio's callbacks tell no time: the old one, posted once more, is not a new no.
    assert post_sms(rig.settings, message_id, "undelivered", **again) == 204
    assert (known.shut(), known.consents(), len(known.acts())) == ([], back, 2)


@pytest.mark.parametrize(
    ("fields", "source", "shut"),
    [
        ({"event": "unsubscribe"}, "SendGrid unsubscribe", "*"),
        ({"event": "dropped", "reason": "Unsubscribed Address"}, "SendGrid unsubscribe", "*"),
        ({"event": "group_unsubscribe", "asm_group_id": 7}, "SendGrid group_unsubscribe", "marketing"),
    ],
)
def test_sendgrid_tells_of_an_unsubscribing_and_what_it_takes_back(
    rig: Rig,
    outbox: Outbox,
    own: Settings,
    signing_key: ec.EllipticCurvePrivateKey,
    fields: dict[str, Any],
    source: str,
    shut: str,
) -> None:
    """Every email where SendGrid refuses every one, else marketing. Twice is once; only a group has a way back there."""
    address, who = people_at(outbox, "email")
    known = Known(rig, outbox, "email", address, who)
    _, message_id = sent(rig, outbox, "email", who[0], content={"to": address})
    at = int(time.time())
    no = event(message_id, **{"word": fields["event"], "email": address, "timestamp": at - 20} | fields)
    yes = event(message_id, "group_resubscribe", email=address, timestamp=at - 10, asm_group_id=7)
    for _ in range(2):
        assert post_email(own, signing_key, [no, no]) == 204
        assert known.shut() == [shut]
        assert known.consents() == {(AGREED, ("opted_out", source, True))}
        assert known.withdrawn() == {"email_marketing"}
        assert known.acts() == [("out", "provider", f"sender:{shut}", 2)]
    # In whatever order they are posted, and however often, the later word stands.
    for _ in range(2):
        assert post_email(own, signing_key, [yes, no]) == 204
    if shut == "*":
        assert (known.shut(), known.withdrawn()) == (["*"], {"email_marketing"})
        assert [action for action, *_ in known.acts()] == ["out", "in"]
    else:
        assert (known.shut(), known.withdrawn()) == ([], set())
        assert [action for action, *_ in known.acts()] == ["out", "in"]
        assert {one[-1] for one in known.consents()} == {("opted_in", "SendGrid group_resubscribe", True)}


def test_a_yes_that_is_heard_before_the_no_that_it_followed_stands(
    rig: Rig,
    outbox: Outbox,
    own: Settings,
    signing_key: ec.EllipticCurvePrivateKey,
) -> None:
    address, who = people_at(outbox, "email")
    known = Known(rig, outbox, "email", address, who)
    _, message_id = sent(rig, outbox, "email", who[0], content={"to": address})
    at = int(time.time())
    for word, age in (("group_resubscribe", 10), ("group_unsubscribe", 20)):
        assert post_email(own, signing_key, [event(message_id, word, email=address, timestamp=at - age)]) == 204
    assert (known.shut(), known.consents()) == ([], {(AGREED,)})
    # A no of after it is one.
    assert post_email(own, signing_key, [event(message_id, "group_unsubscribe", email=address, timestamp=at)]) == 204
    assert (known.shut(), known.withdrawn()) == (["marketing"], {"email_marketing"})


def test_a_carrier_s_block_is_nobody_s_word(rig: Rig, outbox: Outbox) -> None:
    rig.ensure("sms")
    number, who = people_at(outbox, "sms")
    known = Known(rig, outbox, "sms", number, who)
    rig.provider.misbehave(number, kind="undelivered", code=30004)
    message = outbox.outgoing("sms", who[0], {"to": number})
    outbox.send([message])
    rig.eye.status(message.id, "undelivered")
    assert (known.shut(), known.consents(), known.acts()) == (["care"], {(AGREED,)}, [])


@contextmanager
def gates_that_cannot_be_written(known: Known, dsn: str) -> Iterator[None]:
    """The address's; whoever tries ends its transaction there."""
    name = f"refuse_{uuid.uuid4().hex}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            f"""CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = 'disk_full'; END $$;
                CREATE TRIGGER {name} BEFORE INSERT ON suppressions FOR EACH ROW
                WHEN (NEW.gate_key LIKE 'address:%{known.hash}') EXECUTE FUNCTION {name}()""".encode()
        )
        try:
            yield
        finally:
            connection.execute(f"DROP FUNCTION {name}() CASCADE".encode())


def test_gate_and_consents_of_a_receipt_come_together_or_not_at_all(rig: Rig, outbox: Outbox) -> None:
    number, who = people_at(outbox, "sms")
    known = Known(rig, outbox, "sms", number, who)
    message, message_id = sent(rig, outbox, "sms", who[0], content={"to": number})
    fields = {"ErrorCode": "21610", "To": number, "From": rig.settings.twilio_care_sender}
    with gates_that_cannot_be_written(known, rig.settings.postgres_dsn.get_secret_value()):
        assert post_sms(rig.settings, message_id, "undelivered", **fields) == 503
        assert (known.consents(), known.acts(), known.withdrawn()) == ({(AGREED,)}, [], set())
    # Written down, and then nothing more came to Kafka, as where the process dies between.
    deaf = with_port(rig.settings, kafka_bootstrap=f"127.0.0.1:{free_port()}")
    with webhooks(deaf):
        assert post_sms(deaf, message_id, "undelivered", **fields) == 503
    out = {(AGREED, ("opted_out", "Twilio 21610", True))}
    assert (known.shut(), known.consents(), len(known.acts())) == (["care"], out, 1)
    assert "undelivered" not in rig.eye.words(message.id)
    assert post_sms(rig.settings, message_id, "undelivered", **fields) == 204
    rig.eye.status(message.id, "undelivered")
    assert (known.shut(), known.consents(), len(known.acts())) == (["care"], out, 1)


def test_a_sink_that_dies_between_the_refusal_and_its_record_records_it_after(rig: Rig, outbox: Outbox) -> None:
    rig.ensure("sms")
    number, who = people_at(outbox, "sms")
    known = Known(rig, outbox, "sms", number, who)
    dsn = rig.settings.postgres_dsn.get_secret_value()
    rig.provider.misbehave(number, kind="twilio_error", code=21610)
    message = outbox.outgoing("sms", who[0], {"to": number}, essential=True)
    with gates_that_cannot_be_written(known, dsn):
        outbox.send([message])
        wait_for(lambda: refused(rig, number))
        rig.end("sms", signal.SIGKILL)
        assert (known.consents(), known.acts()) == ({(AGREED,)}, [])
    rig.start("sms")
    assert rig.eye.end(message.id)["error_code"] == "21610"
    assert (known.shut(), len(known.acts())) == (["care"], 1)
    assert known.consents() == {(AGREED, ("opted_out", "Twilio 21610", True))}


def refused(rig: Rig, number: str) -> bool:
    """Whether the provider has refused a text to this number."""
    rules = requests.get(f"{rig.provider.url}/faults", timeout=10).json()["faults"]
    return any(rule["applied"] for rule in rules if rule.get("to") == number)
