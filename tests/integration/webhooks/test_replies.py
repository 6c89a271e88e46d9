"""A patient answers a reminder by text: what she says is an event of her appointment, or a message for people; never a guess."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from connectors.kafka import make_producer
from connectors.metrics.requests import SOURCES
from connectors.metrics.withdrawn import WITHDRAWALS_AGE
from connectors.postgres import data_keys, deliveries, keys, text_questions
from connectors.postgres.deliveries import Attempt, Finish, Result
from connectors.postgres.housekeeping import ANSWER_RETENTION_DAYS, QUESTION_DAYS, keep_house
from connectors.postgres.pool import Pool
from connectors.postgres.records import Records
from connectors.postgres.text_questions import Question
from connectors.sealing import seal
from connectors.settings import Settings
from connectors.webhooks.answers import SILENCE
from connectors.webhooks.app import INBOUND_DESK, WITHDRAWALS
from connectors.webhooks.inbound import Inbound
from schemas.topics import AGGREGATE_GATES
from schemas.validation import check_event
from tests.contract.loopback_registry import running_registry
from tests.integration.webhooks.conftest import READY_SECONDS, Phone, Register, World, serving

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("relay")]

CARE = "+15005550006"
STARTS_AT = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
FACTS: dict[str, Any] = {
    "appointment_date": date(2026, 12, 24),
    "appointment_time": "14:00",
    "starts_at": STARTS_AT,
    "service": "Botox Injection",
    "provider": "Dr. Smith",
    "provider_id": "prov-1",
    "duration": 45,
    "time_zone": "America/New_York",
}
Ask = Callable[..., Awaitable[str]]


def new_number() -> str:
    return f"+1415{uuid.uuid4().int % 10**7:07d}"


def new_sid() -> str:
    return f"SM{uuid.uuid4().hex}"


@pytest.fixture
def ask(pool: Pool, records: Records) -> Ask:
    """A reminder that went to this number, as the sink leaves it behind; the appointment's id."""

    async def asked(
        patient: str, number: str, appointment: str | None = None, *, version: int = 1, sent: bool = True, **facts: Any
    ) -> str:
        appointment, delivery_id = appointment or f"A-{uuid.uuid4()}", str(uuid.uuid4())
        whole = FACTS | facts
        async with pool.connection() as connection:
            wrapped = (await data_keys.find(connection, [patient]))[patient]
        key = records.keys.get(wrapped.wrapped, wrapped.subject, wrapped.clinic_id)
        sealed = records.codec.encode_content("luxe.pipeline.AskedAppointment", whole)
        question = Question(
            delivery_id=delivery_id,
            address_hash=records.ring.address_hash("sms", number),
            sender_class="care",
            recipient=patient,
            clinic_id="c1",
            aggregate_type="appointment",
            aggregate_id=appointment,
            aggregate_version=version,
            correlation_id=f"booking-{appointment}",
            starts_at=whole["starts_at"],
            sealed=seal(key, "AskedAppointment", delivery_id, sealed),
        )
        await text_questions.keep(pool, [question])
        kind = (
            "appointment_reminder_48h",
            "transactional",
            "high",
            "sms",
            0,
            1,
            "twilio",
            "appointment_reminder_48h",
            1,
        )
        attempt = Attempt(delivery_id, str(uuid.uuid4()), patient, "c1", *kind, datetime.now(UTC))
        [begun] = await deliveries.begin(pool, [attempt])
        result: Result = "accepted" if sent else "failed"
        await deliveries.finish(pool, [Finish(delivery_id, 1, result, lease_until=begun.lease_until)])
        return appointment

    return asked


@pytest.mark.parametrize("word", ["C", "confirm", "Yes."])
async def test_c_confirms(word: str, phone: Phone, register: Register, ask: Ask, world: World) -> None:
    number, sid = new_number(), new_sid()
    patient = await register(number)
    appointment = await ask(patient, number, version=3)
    for _ in range(2):  # Twilio posts again what it heard no answer to
        assert await phone.text(number, CARE, word, sid=sid) == (200, SILENCE)
    told = world.replies(sid)
    assert len({event["event_id"] for event in told}) == 1
    event = told[0]
    assert event == told[-1]
    assert check_event("luxe.events.AppointmentConfirmed", event, event["occurred_at"]) == []
    expected = {
        "event_type": "appointment.confirmed",
        "aggregate_id": appointment,
        "aggregate_version": 3,
        "confirmed_version": 3,
        "correlation_id": f"booking-{appointment}",
        "clinic_id": "c1",
        "patient_id": patient.partition(":")[2],
        "appointment_date": date(2026, 12, 24),
        "appointment_time": "14:00",
        "service": "Botox Injection",
        "provider": "Dr. Smith",
        "confirmed_via": "sms",
        "confirmed_by": "patient",
    }
    assert {name: event[name] for name in expected} == expected
    assert world.events(sid) == []


async def test_a_late_c_answers_what_was_asked_before_it(
    phone: Phone, register: Register, ask: Ask, world: World
) -> None:
    number, early, late = new_number(), new_sid(), new_sid()
    patient = await register(number)
    appointment = await ask(patient, number)
    desk, now = phone.client.app[INBOUND_DESK], datetime.now(UTC)
    for sid, said_at in ((early, now - timedelta(hours=1)), (late, now + timedelta(seconds=5))):
        form = {"MessageSid": sid, "From": number, "To": CARE, "Body": "C"}
        await desk.take(Inbound.read(form, said_at=said_at), now)
    # The first came to Twilio before she was asked: it is no answer to that.
    assert world.replies(early) == []
    assert [event["received_at"] for event in world.events(early)] == [
        (now - timedelta(hours=1)).replace(microsecond=(now.microsecond // 1000) * 1000)
    ]
    assert [event["aggregate_id"] for event in world.replies(late)] == [appointment]


async def test_r_asks_the_practice_for_another_time(phone: Phone, register: Register, ask: Ask, world: World) -> None:
    number, sid = new_number(), new_sid()
    patient = await register(number)
    appointment = await ask(patient, number)
    # The move that she heard of by text says nothing of service and provider: they are known from before.
    await ask(patient, number, appointment, version=2, appointment_time="16:00", service=None, provider=None)
    assert await phone.text(number, CARE, "R", sid=sid) == (200, SILENCE)
    [event] = world.replies(sid)
    assert check_event("luxe.events.AppointmentRescheduleRequested", event, event["occurred_at"]) == []
    assert (event["event_type"], event["aggregate_version"]) == ("appointment.reschedule_requested", 2)
    assert (event["old_time"], event["service"], event["provider"], event["channel"]) == (
        "16:00",
        "Botox Injection",
        "Dr. Smith",
        "sms",
    )
    assert world.events(sid) == []


async def test_two_appointments_are_not_guessed_between(
    phone: Phone, register: Register, ask: Ask, world: World
) -> None:
    number, first, again = new_number(), new_sid(), new_sid()
    patient = await register(number)
    one = await ask(patient, number)
    await world.policy("c1")
    assert await phone.text(number, CARE, "C", sid=first) == (200, SILENCE)
    two = await ask(patient, number)
    # The first is confirmed, so this is about the second …
    assert (await phone.text(number, CARE, "C", sid=again))[0] == 200
    assert [event["aggregate_id"] for event in (*world.replies(first), *world.replies(again))] == [one, two]
    # … and of R nobody knows which of both she means: people ask her, and she is told so.
    unclear = new_sid()
    status, body = await phone.text(number, CARE, "R", sid=unclear)
    assert status == 200
    assert "our team will ask you which one" in body
    assert world.replies(unclear) == []
    [event] = world.events(unclear)
    assert (event["body"], event["metadata"]) == ("R", {"reply": "reschedule", "appointments": "2"})
    # What a text was about stays so, though one of both appointments is over by now.
    await world.rows("UPDATE text_questions SET starts_at = now() WHERE aggregate_id = %s RETURNING 1", one)
    assert (await phone.text(number, CARE, "R", sid=unclear))[0] == 200
    assert world.replies(unclear) == []


async def test_a_phone_that_two_share_confirms_for_neither(
    phone: Phone, register: Register, ask: Ask, world: World
) -> None:
    number, sid = new_number(), new_sid()
    for patient in (await register(number), await register(number)):
        await ask(patient, number)
    assert (await phone.text(number, CARE, "yes", sid=sid))[0] == 200
    assert world.replies(sid) == []
    [event] = world.events(sid)
    assert event["metadata"] == {"reply": "confirm", "appointments": "2", "phone_shared_by": "2"}


@pytest.mark.parametrize(
    "why", ["nothing asked", "never sent", "over", "moved", "called off", "another sender", "erased"]
)
async def test_what_cannot_be_answered_is_a_message_for_people(
    why: str, phone: Phone, register: Register, ask: Ask, world: World, settings: Settings
) -> None:
    number, sid = new_number(), new_sid()
    patient = await register(number)
    appointment = f"A-{uuid.uuid4()}"
    if why != "nothing asked":
        starts_at = STARTS_AT - timedelta(days=3) if why == "over" else STARTS_AT
        await ask(patient, number, appointment, sent=why != "never sent", starts_at=starts_at)
    if why in ("moved", "called off"):
        withdraw(
            settings, world, appointment, 2 if why == "moved" else 1, "superseded" if why == "moved" else "cancelled"
        )
        withdrawals = phone.client.app[WITHDRAWALS]
        async with asyncio.timeout(60):
            while not withdrawals.overtook("c1", "appointment", appointment, 1):  # noqa: ASYNC110 - a thread's doing
                await asyncio.sleep(0.02)
    if why == "erased":
        async with world.pool.connection() as connection:
            await keys.erase(connection, world.records, patient, "tester")
    to = "+15005550009" if why == "another sender" else CARE
    assert await phone.text(number, to, "C", sid=sid) == (200, SILENCE)
    assert world.replies(sid) == []
    [event] = world.events(sid)
    assert (event["body"], event["metadata"]) == ("C", {"reply": "confirm", "appointments": "0"})


def withdraw(settings: Settings, world: World, appointment: str, version: int, reason: str) -> None:
    """The gate that intake shuts when an appointment moves or is called off."""
    key = f"aggregate:c1:appointment:{appointment}"
    gate = {
        "gate_key": key,
        "kind": "aggregate",
        "reason": reason,
        "source": "intake",
        "aggregate_version": version,
        "created_at": datetime.now(UTC),
        "expires_at": None,
    }
    producer = make_producer(settings)
    producer.produce(
        AGGREGATE_GATES, world.records.codec.encode(AGGREGATE_GATES, "luxe.pipeline.Gate", gate), key.encode()
    )
    assert producer.flush(60) == 0


async def test_a_yes_of_who_is_opted_out_opts_in_and_confirms_nothing(
    phone: Phone, register: Register, ask: Ask, world: World
) -> None:
    number, sid = new_number(), new_sid()
    patient = await register(number)
    await ask(patient, number)
    await phone.text(number, CARE, "STOP")
    assert (await phone.text(number, CARE, "YES", sid=sid))[0] == 200
    assert await world.shut(number) == {"marketing"}
    assert world.replies(sid) == world.events(sid) == []


async def test_the_same_text_at_once_is_one_event(phone: Phone, register: Register, ask: Ask, world: World) -> None:
    number, sid = new_number(), new_sid()
    await ask(await register(number), number)
    answers = await asyncio.gather(*(phone.text(number, CARE, "C", sid=sid) for _ in range(5)))
    assert set(answers) == {(200, SILENCE)}
    assert len({event["event_id"] for event in world.replies(sid)}) == 1
    assert await world.rows("SELECT count(*) FROM text_answers WHERE message_id = %s", sid) == [(1,)]


def age_of(phone: Phone) -> float:
    """``luxe_withdrawals_age_seconds``, as Prometheus reads it."""
    assert phone.client.app is not None
    (source,) = [one for one in phone.client.app[SOURCES] if one.metric is WITHDRAWALS_AGE]
    (sample,) = source.family().samples
    return float(sample.value)


async def until(holds: Callable[[], bool]) -> None:
    """Return once it holds."""
    deadline = time.monotonic() + READY_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not within {READY_SECONDS} s"
        await asyncio.sleep(0.05)


async def test_while_gates_cannot_be_read_nobody_answers_by_old_ones(
    settings: Settings, register: Register, ask: Ask, world: World
) -> None:
    """The schema registry does not say what gates are, then does, and the topic is followed as if nothing had been."""
    number, sid = new_number(), new_sid()
    appointment = await ask(await register(number), number)
    withdraw(settings, world, appointment, 2, "superseded")
    with running_registry() as registry:
        registry.load_committed()
        registry.failing_under = "/schemas/ids/"
        async with serving(settings.model_copy(update={"schema_registry_url": registry.url})) as phone:
            answer = await phone.client.get("/readyz")
            assert (answer.status, (await answer.json())["away"]) == (503, ["withdrawals"])
            before = age_of(phone)
            await asyncio.sleep(0.5)
            waited = age_of(phone)
            assert waited > before, "its age grows, and an alert rule looks at it"
            registry.failing_under = None
            await phone.ready()
            await until(lambda: age_of(phone) < waited)
            assert await phone.text(number, CARE, "C", sid=sid) == (200, SILENCE)
    assert world.replies(sid) == []
    assert len(world.events(sid)) == 1


async def test_what_waits_behind_an_open_transaction_is_not_judged_without(
    settings: Settings, register: Register, ask: Ask, world: World
) -> None:
    """An owner of ours dies with its transaction open: the move behind it can be read by nobody, until the broker ends that."""
    stale = settings.model_copy(update={"replies_stale_seconds": 3.0})
    number, sid = new_number(), new_sid()
    appointment = await ask(await register(number), number)
    owner = make_producer(settings, transactional_id=f"test-{uuid.uuid4()}", transaction_timeout_ms=60_000)
    owner.init_transactions(60)
    async with serving(stale) as phone:
        await phone.ready()
        owner.begin_transaction()
        # One record on each partition; ended by an abort, it is never there for anybody.
        for partition in range(settings.kafka_partitions):
            owner.produce(AGGREGATE_GATES, b"", b"test:open", partition=partition)
        assert owner.flush(60) == 0
        withdraw(settings, world, appointment, 2, "superseded")
        await phone.ready(False)
        assert age_of(phone) > stale.replies_stale_seconds
        status, _ = await phone.text(number, CARE, "C", sid=sid)
        assert (status, world.replies(sid)) == (503, []), "nobody knows whether it still stands"
        owner.abort_transaction(60)
        await phone.ready()
        await until(lambda: age_of(phone) < stale.replies_stale_seconds)
        assert await phone.text(number, CARE, "C", sid=sid) == (200, SILENCE)
    assert world.replies(sid) == []
    assert len(world.events(sid)) == 1


async def test_answers_say_nothing_of_whom_once_their_question_is_gone(
    settings: Settings, phone: Phone, register: Register, ask: Ask, world: World
) -> None:
    """Erased: gone with it. Long over: that the text was heard is kept, so that it answers nothing else; then it goes."""
    erased, over = new_sid(), new_sid()
    numbers = new_number(), new_number()
    patients = [await register(number) for number in numbers]
    appointments = [await ask(patient, number) for patient, number in zip(patients, numbers, strict=True)]
    for number, sid in zip(numbers, (erased, over), strict=True):
        assert await phone.text(number, CARE, "C", sid=sid) == (200, SILENCE)
    async with world.pool.connection() as connection:
        await keys.erase(connection, world.records, patients[0], "tester")
    left = "SELECT message_id, aggregate_id FROM text_answers WHERE message_id = ANY(%s)"
    assert await world.rows(left, [erased, over]) == [(over, appointments[1])]

    await world.rows(
        "UPDATE text_questions SET starts_at = now() - make_interval(days => %s) WHERE aggregate_id = %s RETURNING 1",
        *(QUESTION_DAYS + 1, appointments[1]),
    )
    keep_house_once(settings)
    assert await world.rows(left, [over]) == [(over, None)]
    await ask(patients[1], numbers[1])
    assert await phone.text(numbers[1], CARE, "C", sid=over) == (200, SILENCE)
    assert {event["aggregate_id"] for event in world.replies(over)} == {appointments[1]}
    await world.rows(
        "UPDATE text_answers SET at = now() - make_interval(days => %s) WHERE message_id = %s RETURNING 1",
        *(ANSWER_RETENTION_DAYS + 1, over),
    )
    keep_house_once(settings)
    assert await world.rows(left, [over]) == []


def keep_house_once(settings: Settings) -> None:
    with psycopg.connect(settings.postgres_dsn.get_secret_value(), autocommit=True) as connection:
        keep_house(connection)
