"""Receipts as nobody should post them: garbage among good ones, recorded requests again, too large, while stores are away."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import psycopg
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec

from connectors.postgres.backlog import Backlog
from connectors.postgres.housekeeping import PARKED_SECONDS, keep_house
from connectors.postgres.pool import connect
from connectors.providers.sendgrid import EVENTS_PATH
from connectors.providers.twilio import STATUS_PATH
from connectors.settings import Settings
from connectors.webhooks.misfits import CODE, MAX_LETTERS, STAGE
from tests.integration.asked import answers
from tests.integration.sinks.outgoing import Outbox
from tests.integration.sinks.rig import Rig, free_port, wait_for, webhooks
from tests.integration.sinks.test_webhooks import event, own, parked, post_email, post_sms, sent, signing_key, with_port

pytestmark = pytest.mark.integration
__all__ = ["own", "signing_key"]  # fixtures

TEN_MB = 10 * 1024 * 1024


def letters(rig: Rig) -> list[dict[str, Any]]:
    return [letter for letter in rig.eye.dead_letters if letter["stage"] == STAGE]


def counted(settings: Settings, name: str, **labels: str) -> float:
    """Over all webhooks of these tests: several run at once."""
    return sum(
        sample.value
        for answer in answers(settings.state_dir)
        if answer.target.service.startswith("webhooks")
        for sample in answer.of(name)
        if all(sample.labels.get(label) == value for label, value in labels.items())
    )


def test_bad_entries_are_kept_once_and_their_neighbours_taken(
    rig: Rig, outbox: Outbox, patient: str, own: Settings, signing_key: ec.EllipticCurvePrivateKey
) -> None:
    message, message_id = sent(rig, outbox, "email", patient)
    good = event(message_id, "delivered", email=message.content["to"])
    mark = uuid.uuid4().hex
    bad = [
        event(message_id, "delivered", sg_event_id=f"{mark}\x00"),
        event(f"{mark}\x00", "open"),
        event(message_id, "open", timestamp=mark),
        event(message_id, f"no-such-word-{mark}"),
        {"mark": mark, "half": "\ud800"},
        {"mark": mark, "number": float("nan")},
    ]
    # By Python's own writer: orjson would refuse to write some of it, as it refuses to read it.
    raw = json.dumps([*bad[:3], good, *bad[3:]]).encode()
    before = len(letters(rig))
    assert post_email(own, signing_key, [], raw=raw) == 204
    assert rig.eye.status(message.id, "delivered")["provider_event_id"] == good["sg_event_id"]
    rig.eye.wait(lambda: len(letters(rig)) >= before + len(bad))
    kept = letters(rig)[before:]
    assert {letter["error_code"] for letter in kept} == {CODE}
    assert {letter["source_topic"] for letter in kept} == {"webhook sendgrid"}
    assert mark not in repr([{**letter, "sealed": None} for letter in kept])
    # Posted again, whole and in another order: the same letters, whoever reads them.
    assert post_email(own, signing_key, [], raw=json.dumps([*reversed(bad), good]).encode()) == 204
    rig.eye.wait(lambda: len(letters(rig)) >= before + 2 * len(bad))
    assert len({letter["dead_letter_id"] for letter in letters(rig)[before:]}) == len(bad)
    assert counted(own, "luxe_dead_letters_total", code=CODE) >= 2 * len(bad)
    assert counted(own, "luxe_receipts_refused_total", provider="sendgrid", reason="entry") >= 2 * len(bad)


def test_a_batch_of_nothing_but_garbage_makes_a_bounded_number_of_letters(
    rig: Rig, own: Settings, signing_key: ec.EllipticCurvePrivateKey
) -> None:
    before = len(letters(rig))
    mark = uuid.uuid4().hex
    assert post_email(own, signing_key, [f"{mark}-{number}" for number in range(20_000)]) == 204
    rig.eye.wait(lambda: len(letters(rig)) >= before + MAX_LETTERS)
    assert len(letters(rig)) == before + MAX_LETTERS
    assert counted(own, "luxe_receipts_refused_total", provider="sendgrid", reason="entry") >= 20_000


def test_one_request_s_garbage_harms_no_other_request(
    rig: Rig, outbox: Outbox, patient: str, own: Settings, signing_key: ec.EllipticCurvePrivateKey
) -> None:
    """Receipts of several requests share a statement: what one of them holds must not end it."""
    message, message_id = sent(rig, outbox, "email", patient)
    events = [event(message_id, "open", email=message.content["to"]) for _ in range(20)]
    hostile = [[event(f"x{number}\x00", "open")] for number in range(20)]
    hostile += [[event(f"unknown-{uuid.uuid4()}", "open", delivery_id="d\x00")] for _ in range(20)]
    requests_ = [*([one] for one in events), *hostile]
    with ThreadPoolExecutor(12) as threads:
        answers = list(threads.map(lambda batch: post_email(own, signing_key, batch), requests_))
    assert answers == [204] * len(requests_)
    wanted = {one["sg_event_id"] for one in events}
    rig.eye.wait(lambda: wanted <= {status["provider_event_id"] for status in rig.eye.statuses[message.id]})


def test_the_same_text_receipt_is_one_event_whatever_its_unsigned_headers_say(
    rig: Rig, outbox: Outbox, patient: str
) -> None:
    message, message_id = sent(rig, outbox, "sms", patient)
    for token in ("one", "two", "three"):  # Twilio's own token is in a header that no signature covers
        assert post_sms(rig.settings, message_id, "delivered", token=token) == 204
    assert post_sms(rig.settings, message_id, "sent", token="late") == 204
    rig.eye.wait(
        lambda: (
            sum(status["status"] == "delivered" for status in rig.eye.statuses[message.id]) >= 3
            and any(
                status["status"] == "sent" and status["provider_event_id"] for status in rig.eye.statuses[message.id]
            )
        )
    )
    ids = {status["status_id"] for status in rig.eye.statuses[message.id] if status["status"] == "delivered"}
    assert len(ids) == 1


def test_a_recorded_batch_is_no_use_to_who_posts_it_later(
    rig: Rig, outbox: Outbox, patient: str, signing_key: ec.EllipticCurvePrivateKey, own: Settings
) -> None:
    message, message_id = sent(rig, outbox, "email", patient)
    batch = [event(message_id, "spamreport", email=message.content["to"])]
    refused = counted(own, "luxe_receipts_refused_total", provider="sendgrid", reason="signature")
    for age_seconds in (own.sendgrid_replay_seconds + 5, 86_400, -own.sendgrid_replay_seconds - 5):
        assert post_email(own, signing_key, batch, age_seconds=age_seconds) == 403
    assert post_email(own, ec.generate_private_key(ec.SECP256R1()), batch) == 403
    assert counted(own, "luxe_receipts_refused_total", provider="sendgrid", reason="signature") == refused + 4
    assert "complained" not in rig.eye.words(message.id)
    # Within the window it says no more than the first time.
    for _ in range(2):
        assert post_email(own, signing_key, batch, age_seconds=30) == 204
    rig.eye.wait(lambda: sum(s["status"] == "complained" for s in rig.eye.statuses[message.id]) == 2)
    assert len({s["status_id"] for s in rig.eye.statuses[message.id] if s["status"] == "complained"}) == 1


def test_how_old_a_batch_may_be_is_a_setting(rig: Rig, own: Settings, signing_key: ec.EllipticCurvePrivateKey) -> None:
    patient_one = with_port(own, sendgrid_replay_seconds=7200)
    with webhooks(patient_one):
        assert post_email(patient_one, signing_key, [], age_seconds=3600) == 204
        assert post_email(patient_one, signing_key, [], age_seconds=7300) == 403


def chunked(size_bytes: int) -> Any:
    """A body that does not tell its length."""
    for _ in range(size_bytes // 65_536):
        yield b"a" * 65_536


@pytest.mark.parametrize("path", [STATUS_PATH, EVENTS_PATH, "/webhooks/twilio/inbound"])
@pytest.mark.parametrize("body", [lambda: b"a" * TEN_MB, lambda: chunked(TEN_MB)], ids=["whole", "chunked"])
def test_ten_megabytes_are_turned_away_and_cost_no_memory(own: Settings, path: str, body: Callable[[], Any]) -> None:
    def post(_: int) -> int:
        try:
            return requests.post(f"{own.public_base_url}{path}", data=body(), timeout=20).status_code
        except requests.ConnectionError:
            return 413  # turned away while it was still writing

    before = memory_bytes(own)
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(post, range(12))) == {413}
    assert requests.get(f"{own.public_base_url}/healthz", timeout=20).status_code == 200
    assert memory_bytes(own) - before < 64 * 1024 * 1024


def memory_bytes(settings: Settings) -> float:
    name = f"webhooks-{settings.webhook_port}"
    [answer] = [answer for answer in answers(settings.state_dir) if answer.target.service == name]
    return answer.total("process_resident_memory_bytes") or 0.0


def test_while_kafka_is_away_bad_entries_are_not_lost_either(
    rig: Rig, own: Settings, signing_key: ec.EllipticCurvePrivateKey
) -> None:
    away = with_port(own, kafka_bootstrap=f"127.0.0.1:{free_port()}")
    with webhooks(away):
        assert post_email(away, signing_key, [{"event": uuid.uuid4().hex}]) == 503
    entry = {"event": uuid.uuid4().hex}
    before = len(letters(rig))
    assert post_email(own, signing_key, [entry]) == 204
    rig.eye.wait(lambda: len(letters(rig)) == before + 1)


def test_a_receipt_of_nobody_s_message_is_parked_then_quarantined_and_seen(rig: Rig) -> None:
    nobody = f"SM{uuid.uuid4().hex}"
    parked_before = counted(rig.settings, "luxe_receipts_parked_total", provider="twilio")
    for _ in range(2):
        assert post_sms(rig.settings, nobody, "delivered") == 204
    assert parked(rig, nobody) == 2
    assert counted(rig.settings, "luxe_receipts_parked_total", provider="twilio") == parked_before + 2
    with connect(rig.settings, "test") as connection:
        waiting = Backlog(rig.settings).waiting().receipts
        keep_house(connection)
        assert Backlog(rig.settings).waiting().receipts == waiting  # five minutes are not over
        connection.execute(
            "UPDATE parked_receipts SET received_at = received_at - make_interval(secs => %s) "
            "WHERE provider_message_id = %s",
            (PARKED_SECONDS + 1, nobody),
        )
        keep_house(connection)
    after = Backlog(rig.settings).waiting().receipts
    assert after["twilio", "parked"] == waiting["twilio", "parked"] - 2
    assert after["twilio", "quarantined"] == waiting["twilio", "quarantined"] + 2


def test_a_quarantined_receipt_still_finds_its_message(rig: Rig, outbox: Outbox, patient: str) -> None:
    message, message_id = sent(rig, outbox, "sms", patient)
    claimed = counted(rig.settings, "luxe_receipts_claimed_total", provider="twilio")
    dsn = rig.settings.postgres_dsn.get_secret_value()
    unknown = "UPDATE deliveries SET provider_message_id = NULL, state = 'attempting' WHERE delivery_id = %s"
    known = "UPDATE deliveries SET provider_message_id = %s, state = 'accepted' WHERE delivery_id = %s"
    with psycopg.connect(dsn) as connection:
        connection.execute(unknown, (message.id,))
    assert post_sms(rig.settings, message_id, "delivered") == 204
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "UPDATE parked_receipts SET quarantined_at = now() WHERE provider_message_id = %s", (message_id,)
        )
    with psycopg.connect(dsn) as connection:
        connection.execute(known, (message_id, message.id))
    rig.eye.status(message.id, "delivered")
    wait_for(lambda: counted(rig.settings, "luxe_receipts_claimed_total", provider="twilio") > claimed)


def test_every_order_of_receipts_ends_in_the_same_statuses(
    rig: Rig, outbox: Outbox, patient: str, own: Settings, signing_key: ec.EllipticCurvePrivateKey
) -> None:
    """What reaches notify does not depend on the order that events come in; its lattice does the rest."""
    message, message_id = sent(rig, outbox, "email", patient)
    at = int(time.time())
    told = [
        event(message_id, word, email=message.content["to"], timestamp=at + place - 10)
        for place, word in enumerate(("processed", "delivered", "open", "bounce"))
    ]
    for batch in ([told[3]], [told[1], told[0]], [told[2], told[1], told[3]], list(reversed(told))):
        assert post_email(own, signing_key, batch) == 204
    wanted = {one["sg_event_id"] for one in told}
    rig.eye.wait(lambda: sum(s["provider_event_id"] in wanted for s in rig.eye.statuses[message.id]) == 10)
    found = {
        (s["provider_event_id"], s["status"], s["status_at"], s["status_id"])
        for s in rig.eye.statuses[message.id]
        if s["provider_event_id"] in wanted
    }
    assert len(found) == len(told)
    assert orjson.dumps(sorted(status for _, status, _, _ in found)) == b'["bounced","delivered","read","sent"]'
