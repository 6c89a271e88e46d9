"""Blank forms on file: an email that names them carries those that may leave, read from Postgres by the sink."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import signal
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import psycopg
import pytest

from connectors.metrics.attached import FORMS, FORMS_UNDER_WAY
from connectors.postgres import documents, policies
from connectors.postgres.documents import FormFile
from connectors.postgres.pool import Pool, connect_async, open_pool
from connectors.postgres.records import Records
from connectors.settings import Settings
from sinks.runtime.form_files import FormFiles
from sinks.runtime.tuning import Tuning
from tests.integration.sinks.outgoing import CLINIC, Outbox, Outgoing
from tests.integration.sinks.rig import Rig, wait_for
from tests.integration.sinks.test_conformance import address
from tests.integration.sinks.test_limits import crowd, restart, sent_once
from tests.integration.sinks.test_metrics import value

pytestmark = pytest.mark.integration


def pdf(size: int = 1000) -> bytes:
    """Something that passes for one, and no other is the same."""
    return b"%PDF-1.7\n" + uuid.uuid4().hex.encode() + b"\n" * (size - 46) + b"%%EOF"


async def on_file(settings: Settings, forms: dict[str, tuple[bytes, int]], clinic_id: str = CLINIC) -> None:
    """Keeps forms: name → content and level."""
    async with await connect_async(settings, "tests") as connection:
        records = Records.open(settings)
        await policies.put(connection, records, {"clinic_id": clinic_id, "name": "Luxe", "time_zone": "UTC"}, "tests")
        for form, (content, level) in forms.items():
            await documents.put(
                connection,
                clinic_id=clinic_id,
                form=form,
                filename=f"{form}.pdf",
                content=content,
                phi_level=level,
                uploaded_by="tests",
            )


async def off_file(settings: Settings, form: str, clinic_id: str = CLINIC) -> bool:
    async with await connect_async(settings, "tests") as connection:
        return await documents.remove(connection, clinic_id, form, removed_by="somebody")


def carried(rig: Rig, outbox: Outbox, patient: str, forms: list[str]) -> list[tuple[str, str, bytes]]:
    """What the provider took with an email that names these forms."""
    own = {"filename": "visit.ics", "content_type": "text/calendar; method=REQUEST", "content": b"BEGIN"}
    message = outbox.outgoing("email", patient, {"forms": forms, "attachments": [own]})
    outbox.send([message])
    assert rig.eye.end(message.id)["status"] == "sent"
    (taken,) = rig.taken(message)
    found = [
        (file["filename"], file["type"], base64.b64decode(file["content"]))
        for file in taken["payload"]["mail"]["attachments"]
    ]
    assert found[0] == ("visit.ics", "text/calendar; method=REQUEST", b"BEGIN")
    return found[1:]


def test_an_email_carries_the_forms_that_may_leave(rig: Rig, outbox: Outbox, patient: str) -> None:
    rig.ensure("email")
    name = uuid.uuid4().hex
    health, sent = pdf(), pdf()
    kept = {f"{name} health": (health, 2), f"{name} botox": (pdf(), 3), f"{name} address": (sent, 1)}
    asyncio.run(on_file(rig.settings, kept))
    before = {result: value(rig.settings, "email", FORMS.name, result=result) for result in ("absent", "withheld")}
    named = [f"{name}  HEALTH", f"{name} botox", f"{name} nowhere", f"{name} address", f"{name} health"]
    assert carried(rig, outbox, patient, named) == [
        (f"{name} health.pdf", "application/pdf", health),
        (f"{name} address.pdf", "application/pdf", sent),
    ]
    after = {result: value(rig.settings, "email", FORMS.name, result=result) for result in before}
    assert after == {result: count + 1 for result, count in before.items()}


async def test_bounds_of_one_email_and_what_is_kept(rig: Rig) -> None:
    """In the order of names, as long as they fit; read once while kept, and anew when that is over."""
    clinic = uuid.uuid4().hex
    forms = {f"form {number}": (pdf(size), 2) for number, size in enumerate([900, 900, 300, 100, 100])}
    await on_file(rig.settings, forms, clinic)
    tuning = Tuning(forms_most=3, forms_bytes=1_500, forms_kept_seconds=60, forms_kept_bytes=1_000)
    now = 1000.0
    async with open_pool(rig.settings, "tests", size=1) as pool:
        reader = FormFiles(pool, tuning, clock=lambda: now)

        async def names(*asked: str) -> list[str]:
            return [file["filename"] for file in (await reader.read(clinic, asked)).files]

        assert await names(*forms) == ["form 0.pdf", "form 2.pdf", "form 3.pdf"]
        assert await names("form 4") == ["form 4.pdf"]
        assert await off_file(rig.settings, "FORM 4", clinic)
        assert not await off_file(rig.settings, "form 4", clinic)
        assert await names("form 4", "form 3") == ["form 4.pdf", "form 3.pdf"]
        now += 61
        assert await names("form 4", "form 3") == ["form 3.pdf"]
        assert reader._kept_bytes <= 1_000
        assert await names() == []


async def test_postgres_away_is_waited_for(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its connections are broken while the form is asked for: it is asked again."""
    clinic = uuid.uuid4().hex
    content = pdf()
    await on_file(rig.settings, {"form": (content, 2)}, clinic)
    async with open_pool(rig.settings, "tests-forms", size=1) as pool:
        reader = FormFiles(pool, Tuning(postgres_retry_seconds=0.05))
        found = documents.find
        asked: list[int] = []

        async def broken_first(*arguments: Any) -> Any:
            asked.append(1)
            if len(asked) == 1:
                async with pool.connection() as connection:
                    # The server ends the session that asks: what a restart does.
                    await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
            return await found(*arguments)

        monkeypatch.setattr(documents, "find", broken_first)
        read = await reader.read(clinic, ["form"])
        assert [file["content"] for file in read.files] == [content]
        assert read.digests == [hashlib.sha256(content).hexdigest()[:12]]
        assert read.results == ["attached"]
        assert repr(read) == "<Forms: attached>"
        with caplog.at_level("INFO"):
            reader.tell("delivery-1", read)
        assert f"delivery delivery-1 carries the forms {read.digests[0]}" in caplog.messages
        assert len(asked) == 2


async def test_what_was_on_file_when_is_known_after_it_was_replaced_and_removed(rig: Rig) -> None:
    clinic = uuid.uuid4().hex
    first, second = pdf(), pdf()
    for content in (first, first, second):
        await on_file(rig.settings, {"Health": (content, 2)}, clinic)
    assert await off_file(rig.settings, "HEALTH", clinic)
    await on_file(rig.settings, {"health": (first, 2)}, clinic)
    async with await connect_async(rig.settings, "tests") as connection:
        found = await documents.history(connection, clinic, " hEALTH")
        digests = [hashlib.sha256(content).hexdigest()[:12] for content in (first, second, first)]
        assert [one.digest for one in found] == digests
        assert [(one.form, one.filename, one.phi_level, one.by) for one in found] == [
            *[("Health", "Health.pdf", 2, "tests")] * 2,
            ("health", "health.pdf", 2, "tests"),
        ]
        assert found[0].until == found[1].since
        assert found[1].until is not None
        assert found[1].until <= found[2].since
        assert found[2].until is None
        assert await documents.history(connection, clinic, "other") == []
        for statement in (
            "UPDATE clinic_document_history SET changed_by = 'x' WHERE clinic_id = %s",
            "DELETE FROM clinic_document_history WHERE clinic_id = %s",
        ):
            with pytest.raises(psycopg.errors.RaiseException, match="only added"):
                await connection.execute(statement, (clinic,))


async def test_what_one_reads_the_others_that_wait_need_not_read_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic = uuid.uuid4().hex
    await on_file(rig.settings, {"form": (pdf(), 2)}, clinic)
    async with open_pool(rig.settings, "tests-forms", size=1) as pool:
        reader = FormFiles(pool, Tuning())
        find = documents.find
        asked: list[str] = []

        async def counted(pool: Pool, clinic_id: str, form_keys: Iterable[str]) -> Mapping[str, FormFile]:
            keys = list(form_keys)
            asked.extend(keys)
            return await find(pool, clinic_id, keys)

        monkeypatch.setattr(documents, "find", counted)
        every = await asyncio.gather(*(reader.read(clinic, ["form", "nowhere"]) for _ in range(40)))
    assert {tuple(found.results) for found in every} == {("attached", "absent")}
    assert sorted(asked) == ["form", "nowhere"]


def crowd_with_forms(rig: Rig, outbox: Outbox, count: int) -> list[Outgoing]:
    """Emails that carry one."""
    form = uuid.uuid4().hex
    asyncio.run(on_file(rig.settings, {form: (pdf(), 2)}))
    return [
        outbox.outgoing("email", one.message["recipient"], {"forms": [form]}) for one in crowd(outbox, count, "email")
    ]


def begun(rig: Rig, messages: list[Outgoing]) -> set[str]:
    """Those that the ledger knows of."""
    with psycopg.connect(rig.settings.postgres_dsn.get_secret_value()) as connection:
        ids = [message.id for message in messages]
        return {
            name
            for (name,) in connection.execute("SELECT delivery_id FROM deliveries WHERE delivery_id = ANY(%s)", (ids,))
        }


def under_way(rig: Rig) -> float:
    return value(rig.settings, "email", FORMS_UNDER_WAY.name)


FEW = {"LUXE_SINKS_FORMS_AT_ONCE": "2", "LUXE_SINKS_SLOTS_NORMAL": "4"}


def test_others_of_the_lane_pass_emails_that_wait_for_room_and_a_stop_leaves_none_of_them_in_doubt(
    rig: Rig, outbox: Outbox
) -> None:
    restart(rig, FEW | {"LUXE_SINKS_ATTACHMENTS_CALL_SECONDS": "60"}, "email")
    big = crowd_with_forms(rig, outbox, 30)
    for message in big:
        rig.provider.misbehave(to=address(message), kind="latency", ms=4000)
    outbox.send(big)
    wait_for(lambda: under_way(rig) == 2)
    others = crowd(outbox, 20, "email")
    outbox.send(others)
    for message in others:
        assert rig.eye.end(message.id)["status"] == "sent"
        assert under_way(rig) <= 2
    # Did they hold their slots, the first of the others would go when no more than four of them are left.
    assert sum("sent" in rig.eye.words(message.id) for message in big) < len(big) / 2
    assert rig.end("email", signal.SIGTERM) == 0
    # Those inside had the time to end; nothing was begun of those that waited.
    known = begun(rig, big)
    rig.eye.wait(lambda: known == {message.id for message in big if "sent" in rig.eye.words(message.id)})
    rig.provider.behave()
    rig.start("email", FEW)
    sent_once(rig, big + others)
    rig.end("email")


def test_a_sink_that_is_killed_leaves_in_doubt_only_those_that_it_called_for(rig: Rig, outbox: Outbox) -> None:
    # Long enough that nobody gives up before the two are seen; the lease ends while their end is waited for.
    restart(rig, FEW | {"LUXE_SINKS_ATTACHMENTS_CALL_SECONDS": "20"}, "email")
    rig.provider.misbehave(rule_channel="email", kind="hang", seconds=60)
    big = crowd_with_forms(rig, outbox, 20)
    outbox.send(big)
    wait_for(lambda: under_way(rig) == 2 and len(begun(rig, big)) == 2)
    called = begun(rig, big)
    rig.end("email", signal.SIGKILL)
    rig.provider.behave()
    rig.start("email", FEW)
    sent_once(rig, [message for message in big if message.id not in called])
    # SendGrid cannot be asked, and nobody's life hangs on a form.
    assert {rig.eye.end(ident)["status"] for ident in called} == {"unknown"}
    rig.end("email")


def test_a_stop_before_the_call_gives_the_attempt_back(rig: Rig, outbox: Outbox, patient: str) -> None:
    """It waits for Postgres, which is to store its link, when the time to drain is over."""
    restart(rig, {"LUXE_SINKS_DRAIN_SECONDS": "0.5"}, "email")
    link = {"code": uuid.uuid4().hex[:11], "url": "https://clinic.example/visit", "counted": False}
    message = outbox.outgoing("email", patient, {"links": [link]})
    with psycopg.connect(rig.settings.postgres_dsn.get_secret_value()) as connection:
        connection.execute("LOCK TABLE short_links IN ACCESS EXCLUSIVE MODE")
        outbox.send([message])
        wait_for(lambda: begun(rig, [message]))
        assert rig.end("email", signal.SIGTERM) == 0
        assert begun(rig, [message]) == set()
    rig.ensure("email")
    sent_once(rig, [message])
    assert rig.eye.words(message.id)[-1] != "unknown"
