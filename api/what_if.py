"""What-if: would somebody get a notification at some time? Answered by the pipeline's own rules; nothing is sent or stored."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Self

from aiohttp import web
from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from api import access
from api.bodies import JSON, read_model, recipient_of
from api.explanation_model import ServedDecision, decision_served
from api.names import Names
from api.preference_model import Channel, Instant, Strict
from api.preferences import ID
from api.problems import Problem, unusable
from api.recipients import seen
from api.resources import ASKING, POOL, RECORDS, identity_of
from api.routes import Answer, Route
from connectors.clickhouse.asking import ClickHouseAway
from connectors.explaining.counted import Told, told_to
from schemas.shapes import Violation
from streams.what_if import (
    Foretold,
    NoPolicy,
    NoSuchType,
    Question,
    catalog,
    exception_words,
    not_considered,
    timing_faults,
    what_if,
)

PATH = "/v1/recipients/{id}/what-if"
# What will be agreed to, and what clinics will do, further off is anybody's guess.
FURTHEST = timedelta(days=400)


def _near(moment: datetime) -> datetime:
    now = datetime.now(UTC)
    as_utc = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if not now - FURTHEST <= as_utc <= now + FURTHEST:
        raise ValueError(f"send a time within {FURTHEST.days} days of now")
    return moment


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.]{0,79}$")]
# With its zone, or without: then by the recipient's clocks.
WallOrInstant = Annotated[datetime, Field(strict=False), AfterValidator(_near)]


class WhatIf(Strict):
    """What would be sent, and when. One of ``notificationType`` and ``eventType``."""

    at: WallOrInstant = Field(
        description="With its zone; without one it is by the recipient's clocks, else the clinic's."
    )
    notification_type: Name | None = Field(None, description="A type of the catalogue.")
    event_type: Name | None = Field(None, description="An event: every type that it calls for.")
    expires_at: Instant | None = Field(None, description="When it would mean nothing any more; null: never.")
    event_opt_outs: list[Channel] = Field([], max_length=4, description="Channels that the event itself would close.")
    about: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None,
        description="The aggregate that it would be about: who was told the same of it just before is not told again.",
    )

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if (self.notification_type is None) == (self.event_type is None):
            raise ValueError("send one of notificationType and eventType")
        return self


class Counted(Strict):
    """What was sent before and counts against the limits. ``lastOfClass``: the last offer, or request for a review."""

    that_day: int
    of_category: int
    messages_that_hour: int
    last_of_class: AwareDatetime | None


class WhatIfAnswer(Strict):
    """What would be decided about one type. The sentence's times are in ``timeZone``."""

    notification_type: str
    at: AwareDatetime
    time_zone: str
    sentence: str
    decision: ServedDecision
    counted: Counted | None = Field(description="null: ClickHouse did not answer, and all counted from zero.")


class WhatIfAnswers(Strict):
    """One for each type. ``notConsidered``: what only the time itself could tell."""

    answers: list[WhatIfAnswer]
    not_considered: list[str]


def served(one: Foretold) -> WhatIfAnswer:
    """An answer as it is served."""
    return WhatIfAnswer(
        notification_type=one.notification_type,
        at=one.at,
        time_zone=one.zone,
        sentence=one.sentence,
        decision=decision_served(one.decision),
        counted=None if one.counts is None else Counted.model_validate(one.counts._asdict()),
    )


def names() -> Names:
    """What documents may name. Reads the catalogue, once: not in the event loop."""
    types = catalog().types
    categories = frozenset(kind.category for kind in types.values())
    return Names(frozenset(types), categories, exception_words(), timing_faults)


async def ask(request: web.Request) -> web.Response:
    """Decide, and do nothing."""
    asked = await read_model(request, WhatIf)
    identity = identity_of(request)
    found = await seen(request, recipient_of(request, identity), identity)
    question = Question(
        asked.at, asked.notification_type, asked.event_type, asked.expires_at, asked.event_opt_outs, asked.about
    )
    types = await asyncio.to_thread(catalog)  # read once
    told: list[Told] | None = None
    with suppress(ClickHouseAway):  # the answer says what it lacks
        told = await request.app[ASKING].ask(lambda client: told_to(client, found.recipient, datetime.now(UTC)))
    try:
        async with request.app[POOL].connection() as connection:
            answers = await what_if(connection, request.app[RECORDS], types, found, question, told)
    except NoSuchType as error:
        name = "eventType" if asked.notification_type is None else "notificationType"
        raise unusable([Violation(name, "a name that is not in the catalogue for them", str(error))]) from None
    except NoPolicy as error:
        raise Problem(503, str(error)) from None
    body = WhatIfAnswers(answers=[served(one) for one in answers], not_considered=not_considered(question, told))
    return web.Response(body=body.model_dump_json(by_alias=True).encode(), content_type=JSON)


ROUTES = (
    Route(
        "POST",
        PATH,
        ask,
        access.ASK_WHAT_IF,
        "Would they get it at some time?",
        (Answer(200, "What would be decided", WhatIfAnswers),),
        takes=WhatIf,
        parameters=(ID,),
        problems=(404,),
        tag="explanations",
    ),
)
