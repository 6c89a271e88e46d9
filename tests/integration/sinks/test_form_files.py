"""Blank forms on file: an email that names them carries those that may leave, read from Postgres by the sink."""

from __future__ import annotations

import asyncio
import base64
import uuid
from typing import Any

import pytest

from connectors.metrics.attached import FORMS
from connectors.postgres import documents, policies
from connectors.postgres.pool import connect_async, open_pool
from connectors.postgres.records import Records
from connectors.settings import Settings
from sinks.runtime.form_files import FormFiles
from sinks.runtime.tuning import Tuning
from tests.integration.sinks.outgoing import CLINIC, Outbox
from tests.integration.sinks.rig import Rig
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
        return await documents.remove(connection, clinic_id, form)


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
            content: dict[str, Any] = {"forms": asked, "attachments": []}
            async with reader.with_forms({"clinic_id": clinic}, content) as whole:
                return [file["filename"] for file in whole["attachments"]]

        assert await names(*forms) == ["form 0.pdf", "form 2.pdf", "form 3.pdf"]
        assert await names("form 4") == ["form 4.pdf"]
        assert await off_file(rig.settings, "FORM 4", clinic)
        assert not await off_file(rig.settings, "form 4", clinic)
        assert await names("form 4", "form 3") == ["form 4.pdf", "form 3.pdf"]
        now += 61
        assert await names("form 4", "form 3") == ["form 3.pdf"]
        assert reader._kept_bytes <= 1_000
        assert await names() == []


async def test_postgres_away_is_waited_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
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
        message: dict[str, Any] = {"forms": ["form"], "attachments": []}
        async with reader.with_forms({"clinic_id": clinic}, message) as whole:
            assert [file["content"] for file in whole["attachments"]] == [content]
        assert len(asked) == 2
