"""A patient says no by text: it holds for that sender, whoever shares the phone, before we say so; twice is once."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from xml.etree import ElementTree

import pytest

from connectors.settings import Settings
from connectors.webhooks.answers import SILENCE
from connectors.webhooks.inbound import STRANGER
from schemas.validation import check_event
from tests.integration.sinks.rig import Provider, loopback
from tests.integration.stores import relaying
from tests.integration.webhooks.conftest import Phone, Register, World, serving

pytestmark = pytest.mark.integration

CARE, MARKETING = "+15005550006", "+15005550009"


def new_number() -> str:
    return f"+1415{uuid.uuid4().int % 10**7:07d}"


@pytest.mark.usefixtures("relay")
async def test_stop_to_the_marketing_sender_ends_marketing_and_leaves_care(
    phone: Phone, register: Register, world: World
) -> None:
    number = new_number()
    patient, bystander = await register(number), await register(new_number())
    assert await phone.text(number, MARKETING, "Stop.") == (200, SILENCE)
    assert await world.shut(number) == {"marketing"}
    assert (await world.consent(patient), await world.consent(patient, "sms_transactional")) == (
        "opted_out",
        "opted_in",
    )
    assert (await world.content(patient))["preferences"]["sms_opt_in"]["marketing"] is False
    assert await world.history(patient) == [("opted_in", "form", "tester"), ("opted_out", "text STOP", "number")]
    assert await world.consent(bystander) == "opted_in"
    # It was in Kafka before it was answered.
    waiting = "SELECT 1 FROM outbox WHERE published_at IS NULL AND (topic = 'gates' OR key = %s)"
    assert await world.rows(waiting, patient.encode()) == []


@pytest.mark.usefixtures("relay")
@pytest.mark.parametrize(("to", "word"), [(CARE, "STOP"), (MARKETING, "StopAll"), (CARE, "opt out")])
async def test_stop_to_the_care_sender_and_stopall_end_every_text(
    to: str, word: str, phone: Phone, register: Register, world: World
) -> None:
    number = new_number()
    patient = await register(number)
    assert (await phone.text(number, to, word))[0] == 200
    assert await world.shut(number) == {"care", "marketing"}
    assert await world.consent(patient) == "opted_out"
    # The number is shut, not the person: at another number she is reached as before.
    assert await world.consent(patient, "sms_transactional") == "opted_in"
    # The proof names the number, keyed.
    [(address_hash,)] = await world.rows(
        "SELECT address_hash FROM consents WHERE recipient = %s AND source LIKE 'text%%'", patient
    )
    assert address_hash == world.records.ring.address_hash("sms", number)


@pytest.mark.usefixtures("relay")
async def test_all_who_share_the_phone_are_meant_and_each_gets_back_what_she_had(
    phone: Phone, register: Register, world: World
) -> None:
    number = new_number()
    mother, child = await register(number), await register(number, agreed=False, clinic_id="c2")
    await phone.text(number, MARKETING, "STOP")
    assert [await world.consent(one) for one in (mother, child)] == ["opted_out", "opted_out"]
    await phone.text(number, MARKETING, "start")
    assert [await world.consent(one) for one in (mother, child)] == ["opted_in", "pending"]
    assert await world.shut(number) == set()
    assert (await world.history(mother))[-1] == ("opted_in", "text START", "number")


@pytest.mark.usefixtures("relay")
async def test_start_opens_only_the_sender_it_was_said_to_and_no_bounce(
    phone: Phone, register: Register, world: World
) -> None:
    number = new_number()
    patient = await register(number)
    await phone.text(number, CARE, "QUIT")
    await phone.text(number, CARE, "UNSTOP")
    assert await world.shut(number) == {"marketing"}
    assert await world.consent(patient) == "opted_out"


@pytest.mark.usefixtures("relay")
async def test_yes_opts_in_who_is_out_and_is_a_reply_of_everybody_else(
    phone: Phone, register: Register, world: World
) -> None:
    number = new_number()
    await register(number)
    reply, again = f"SM{uuid.uuid4().hex}", f"SM{uuid.uuid4().hex}"
    assert await phone.text(number, CARE, "YES", sid=reply) == (200, SILENCE)
    assert [event["body"] for event in world.events(reply)] == ["YES"]
    await phone.text(number, CARE, "STOP")
    assert (await phone.text(number, CARE, "yes", sid=again))[0] == 200
    assert await world.shut(number) == {"marketing"}
    # Posted again, it still is the yes that it was: not a reply now that the number is in.
    assert (await phone.text(number, CARE, "yes", sid=again))[0] == 200
    assert world.events(again) == []


@pytest.mark.usefixtures("relay")
@pytest.mark.parametrize("word", ["YES", "START"])
async def test_an_old_yes_posted_again_undoes_no_later_stop(
    phone: Phone, register: Register, world: World, word: str
) -> None:
    """Twilio's signature over a text names no time: whoever recorded one may post it for ever."""
    number, recorded = new_number(), f"SM{uuid.uuid4().hex}"
    patient = await register(number)
    assert (await phone.text(number, CARE, word, sid=recorded))[0] == 200
    await phone.text(number, CARE, "STOP")
    assert await world.shut(number) == {"care", "marketing"}
    assert (await phone.text(number, CARE, word, sid=recorded))[0] == 200
    assert await world.shut(number) == {"care", "marketing"}
    assert await world.consent(patient) == "opted_out"
    # A new one is a wish of now.
    assert (await phone.text(number, CARE, word))[0] == 200
    assert await world.shut(number) == {"marketing"}


@pytest.mark.usefixtures("relay")
@pytest.mark.parametrize("body", ["restart", "please stop by at 5", "", "Ich komme um 5 – Ärger mit dem Auto 🚗"])
async def test_any_other_text_is_an_event_for_the_clinic_s_people(
    body: str, phone: Phone, register: Register, world: World
) -> None:
    number, sid = new_number(), f"SM{uuid.uuid4().hex}"
    patient = await register(number)
    for _ in range(2):
        assert await phone.text(number, CARE, body, sid=sid, NumMedia="1") == (200, SILENCE)
    events = world.events(sid)
    assert len({event["event_id"] for event in events}) == 1
    event = events[0]
    assert (event["patient_id"], event["clinic_id"]) == (patient.partition(":")[2], "c1")
    assert (event["body"], event["from"], event["channel"]) == (body, number, "sms")
    assert event["metadata"] == {"media": "1"}
    assert check_event("luxe.events.MessageReceived", event, event["received_at"]) == []
    assert await world.shut(number) == set()


@pytest.mark.usefixtures("relay")
async def test_a_number_nobody_knows_is_shut_and_heard_too(phone: Phone, world: World) -> None:
    number, sid = new_number(), f"SM{uuid.uuid4().hex}"
    assert (await phone.text(number, CARE, "who is this?", sid=sid))[0] == 200
    [event] = world.events(sid)
    assert (event["patient_id"], event["clinic_id"], event["from"]) == (STRANGER, "*", number)
    assert (await phone.text(number, CARE, "stop"))[0] == 200
    assert await world.shut(number) == {"care", "marketing"}
    assert await world.rows("SELECT action, recipients, channel, scope FROM opt_outs") == [
        ("out", [], "sms", "sender:care,marketing")
    ]


@pytest.mark.usefixtures("relay")
async def test_the_same_text_twice_or_at_once_is_one(phone: Phone, register: Register, world: World) -> None:
    number, sid = new_number(), f"SM{uuid.uuid4().hex}"
    patient = await register(number)
    answers = await asyncio.gather(*(phone.text(number, MARKETING, "STOP", sid=sid) for _ in range(5)))
    assert {status for status, _ in answers} == {200}
    assert await world.rows("SELECT count(*) FROM opt_outs") == [(1,)]
    assert len(await world.history(patient)) == 2
    # A START between the text and its late repetition stands.
    await phone.text(number, MARKETING, "START")
    assert (await phone.text(number, MARKETING, "STOP", sid=sid))[0] == 200
    assert await world.shut(number) == set()


async def test_nobody_is_told_that_it_holds_before_it_is_in_kafka(
    phone: Phone, register: Register, world: World, settings: Settings
) -> None:
    number, sid = new_number(), f"SM{uuid.uuid4().hex}"
    await register(number)
    status, body = await phone.text(number, MARKETING, "STOP", sid=sid)
    assert (status, body) == (503, "")
    assert await world.shut(number) == {"marketing"}  # stored: nothing is lost, it only is not in force
    with relaying(settings):
        assert (await phone.text(number, MARKETING, "STOP", sid=sid))[0] == 200
    assert await world.rows("SELECT count(*) FROM opt_outs") == [(1,)]


@pytest.mark.usefixtures("relay")
async def test_what_twilio_did_not_sign_or_no_phone_sent_changes_nothing(
    phone: Phone, register: Register, world: World
) -> None:
    number = new_number()
    await register(number)
    assert (await phone.text(number, CARE, "STOP", signed=False))[0] == 403
    assert (await phone.text("72345", CARE, "STOP"))[0] == 400
    assert (await phone.text("whatsapp:+14155550100", CARE, "hello"))[0] == 400
    assert (await phone.text(number, CARE, "x" * 20_001))[0] == 400
    assert (await phone.text(number, CARE, "x" * 70_000))[0] == 413
    assert (await phone.text(number, CARE, "STOP", sid="S"))[0] == 400
    assert await world.shut(number) == set()
    assert await world.rows("SELECT 1 FROM opt_outs") == []


@pytest.mark.usefixtures("relay")
async def test_a_clinic_s_own_marketing_sender_is_one(phone: Phone, register: Register, world: World) -> None:
    number = new_number()
    await register(number)
    await world.policy("c1", sms_marketing_sender="MG0123")
    assert (await phone.text(number, "+15550001111", "STOP", MessagingServiceSid="MG0123"))[0] == 200
    assert await world.shut(number) == {"marketing"}


@pytest.mark.usefixtures("relay")
@pytest.mark.parametrize("answers", ["provider", "ours"])
async def test_a_keyword_is_answered_once_by_whoever_is_to_answer(
    answers: str, settings: Settings, register: Register, world: World, tmp_path: Path
) -> None:
    number = new_number()
    await register(number, locale="es-US")
    await world.policy("c1")
    ours = settings.model_copy(update={"sms_keyword_answers": answers})
    async with serving(ours):
        with loopback(tmp_path / "provider", settings.webhook_port) as (url, _):
            provider = Provider(url)
            for word in ("STOP", "HELP", "START", "AYUDA", "BAJA"):
                said = {"from": number, "to": MARKETING, "body": word, "handled": answers == "provider"}
                await asyncio.to_thread(provider.inbound, said)
            texts = [one["payload"]["form"]["Body"] for one in await asyncio.to_thread(provider.messages, number)]
    assert len(texts) == 5, texts
    assert all(text.startswith("Luxe: ") for text in texts[:3]) == (answers == "ours")
    # The provider does not know these, so nobody else answers them.
    assert all(text.startswith("Luxe: ") for text in texts[3:])
    assert await world.shut(number) == {"marketing"}
    if answers == "ours":
        assert "No le enviaremos ofertas" in texts[0]


async def test_an_answer_is_twiml(settings: Settings, register: Register, world: World) -> None:
    number = new_number()
    await register(number)
    with relaying(settings):
        async with serving(settings.model_copy(update={"sms_keyword_answers": "ours"})) as phone:
            await world.policy("*", name="A & B")
            status, body = await phone.text(number, CARE, "INFO")
            assert status == 200
            [message] = ElementTree.fromstring(body.encode()).findall("Message")  # noqa: S314 - ours
            assert (message.text or "").startswith("A & B: ")
            # Where a messaging service's Advanced Opt-Out answered, it says so, and we are silent.
            assert (await phone.text(number, CARE, "INFO", OptOutType="HELP"))[1] == SILENCE
