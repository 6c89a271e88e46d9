"""A waitlist's slot for whoever is offered it: how it stands, claim it, decline it. Of those who claim at once one gets it.

A slot is named by its id, or by the id of an offer of it, which is what in-app messages are about.
"""

from __future__ import annotations

import re
from typing import Literal

import psycopg
from aiohttp import web
from pydantic import AwareDatetime, Field

from api import access
from api.bodies import JSON, read_model
from api.identity import Identity
from api.preference_model import Strict
from api.problems import Problem, not_found, unusable
from api.resources import POOL, RECORDS, SETTINGS, identity_of
from api.routes import Answer, Handler, Parameter, Route
from connectors.waitlist.answering import Word, answer, now_ms
from connectors.waitlist.keeping import Row, SlotRows
from connectors.waitlist.saying import About
from connectors.waitlist.slot import Slot, told
from schemas.shapes import Violation

PATH = "/v1/waitlist/{slot}"
SLOT = Parameter("slot", "path", "The slot's id, or the id of an offer of it.", required=True)
PATIENT = Parameter("patient", "query", "Whose; staff name one, a patient asks for herself.")
MAX_ID_CHARACTERS = 200
_ID = re.compile(rf"[^\x00-\x1f\x7f\ud800-\udfff]{{1,{MAX_ID_CHARACTERS}}}")

Stands = Literal["offered", "claimed", "declined", "taken", "over", "waiting"]
_REFUSALS = {
    "taken": "Somebody else has the slot.",
    "over": "The offer is over; the slot went on to whoever is next.",
    "declined": "It was declined before; the slot went on to whoever is next.",
    "claimed": "It was claimed before; call the clinic to give it back.",
    "not_yours": "It is not this patient's turn.",
}


class Said(Strict):
    """Who says it."""

    patient_id: str | None = Field(
        None, min_length=1, max_length=MAX_ID_CHARACTERS, description="In whose name; staff name one, a patient none."
    )


class Declined(Said):
    """Who says no."""

    keep_on_waitlist: bool = Field(True, description="Whether she wants to be asked again, for other slots.")


class SlotStanding(Strict):
    """How a slot stands for one patient. ``offerEndsAt``: until when she alone can claim it."""

    slot_id: str
    clinic_id: str
    stands: Stands
    offer_ends_at: AwareDatetime | None


async def read(request: web.Request) -> web.Response:
    """Nothing is changed."""
    identity = identity_of(request)
    patient = _patient(identity, request.query.get("patient"), "patient")
    async with request.app[POOL].connection() as connection:
        row, number = await _seen(request, connection, identity, patient)
    return _served(row.about, row.slot, patient, number)


def saying(word: Word) -> Handler:
    """A handler that claims or declines."""

    async def handle(request: web.Request) -> web.Response:
        """The slot as it stands then. Said again it is answered again; 409 where it is too late, or somebody else's."""
        said = await read_model(request, Declined if word == "decline" else Said)
        identity = identity_of(request)
        patient = _patient(identity, said.patient_id, "patientId")
        keep = said.keep_on_waitlist if isinstance(said, Declined) else True
        async with request.app[POOL].connection() as connection:
            row, number = await _seen(request, connection, identity, patient)
            rows = rows_of(request.app)
            answered = await answer(connection, rows, row.about, patient, word, keep=keep, number=number)
        if answered.answer != ("claimed" if word == "claim" else "declined"):
            raise Problem(409, _REFUSALS[answered.answer])
        return _served(row.about, answered.step.slot, patient, number)

    return handle


def named(text: str) -> str:
    """A slot's or an offer's id. Raises Problem 404 for what can be neither: Postgres takes no NUL, no lone surrogate."""
    if _ID.fullmatch(text) is None:
        raise not_found()
    return text


def rows_of(app: web.Application) -> SlotRows:
    """Reads and writes slots."""
    return SlotRows(app[RECORDS], app[SETTINGS].pages_url)


def stands(slot: Slot, patient: str, number: int | None = None) -> Stands:
    """How a slot stands for a patient, in a word. ``number``: of the offer that is looked at; one of an hour that was changed
    since is over, whatever is offered now."""
    found = told(slot, patient, now_ms())
    if found == "offered" and number not in (None, slot.offer_number):
        return "over"
    if found == "not_yours":
        return "waiting" if slot.standing(patient) == "waiting" else "over"
    return found


def _patient(identity: Identity, named: str | None, field: str) -> str:
    """In whose name. Raises Problem."""
    if identity.role == "patient":
        if named not in (None, identity.subject):
            raise not_found()
        return identity.subject
    if not named or len(named) > MAX_ID_CHARACTERS:
        raise unusable([Violation(field, "missing, or too long", "name the patient in whose name it is said")])
    return named


async def _seen(
    request: web.Request, connection: psycopg.AsyncConnection, identity: Identity, patient: str
) -> tuple[Row, int | None]:
    """The slot, where this patient is of its list and the caller may say so; which offer of hers was named. Raises Problem."""
    rows, name = rows_of(request.app), named(request.match_info["slot"])
    mine = [row for row in await rows.find(connection, name) if _may_see(row, identity, patient)]
    if not mine:
        raise not_found()
    if len(mine) > 1:
        raise Problem(409, "Several clinics have a slot of that id; name an offer's id.")
    offer = await rows.offer(connection, name)
    return mine[0], offer.number if offer is not None and offer.patient_id == patient else None


def _may_see(row: Row, identity: Identity, patient: str) -> bool:
    if row.slot.standing(patient) is None and row.slot.holder != patient:
        return False
    return identity.role == "patient" or identity.works_for(row.about.clinic_id)


def _served(about: About, slot: Slot, patient: str, number: int | None) -> web.Response:
    word = stands(slot, patient, number)
    served = SlotStanding(
        slot_id=about.slot_id,
        clinic_id=about.clinic_id,
        stands=word,
        offer_ends_at=slot.offer_ends_at if word == "offered" else None,
    )
    return web.Response(body=served.model_dump_json(by_alias=True).encode(), content_type=JSON)


def _saying(word: Word, summary: str, takes: type[Said]) -> Route:
    return Route(
        "POST",
        f"{PATH}/{word}",
        saying(word),
        access.ANSWER_OFFERS,
        summary,
        (Answer(200, "How it stands now", SlotStanding),),
        takes=takes,
        parameters=(SLOT,),
        problems=(404, 409),
        tag="waitlist",
    )


ROUTES = (
    Route(
        "GET",
        PATH,
        read,
        access.ANSWER_OFFERS,
        "How a waitlist slot stands for a patient",
        (Answer(200, "How it stands", SlotStanding),),
        parameters=(SLOT, PATIENT),
        problems=(404, 409, 422),
        tag="waitlist",
    ),
    _saying("claim", "Claim a waitlist slot", Said),
    _saying("decline", "Decline a waitlist slot", Declined),
)
