"""A clinic's own policy: quiet hours, senders, caps, what it does not send. It can only narrow what patients allow."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from pydantic import AwareDatetime

from api import access
from api.avro_models import model_of, served_path
from api.bodies import MERGE_PATCH, changed_since, parsed, required_version
from api.documents import IF_MATCH, IF_NONE_MATCH, BodyOf, answered, known_already, merge_patch, replacement
from api.names import MEND_CATEGORY, MEND_TYPE, MEND_WORD, Names, unknown
from api.problems import Problem, not_found, unusable
from api.resources import IN_FORCE, NAMES, POOL, RECORDS, SETTINGS, identity_of
from api.routes import Answer, Parameter, Route
from api.suppressions import CLINIC, clinic_of
from connectors.postgres import policies
from connectors.postgres.in_force import unpublished
from connectors.postgres.policies import Current
from connectors.postgres.records import POLICY
from schemas.shapes import Violation
from schemas.topics import POLICIES
from schemas.validation import violations

PATH = "/v1/clinics/{clinic}/policy"
# Given by the store, not by the caller.
_OURS = ("clinic_id", "version", "wrapped_key", "updated_at", "updated_by")

Policy = model_of(POLICY, "Policy", without=_OURS)


class StoredPolicy(Policy):  # type: ignore[valid-type, misc] # a base made at run time
    """A policy, whose it is, and who changed it last."""

    clinic_id: str
    version: int
    updated_at: AwareDatetime
    updated_by: str


async def read(request: web.Request) -> web.Response:
    """The policy, with its version as ETag."""
    clinic_id = clinic_of(request)
    async with request.app[POOL].connection() as connection:
        found = await policies.current(connection, clinic_id)
    if found is None:
        raise not_found()
    known = known_already(request, found.version)
    return _answer(clinic_id, found) if known is None else known


async def replace_all(request: web.Request) -> web.Response:
    """Everything as the body says; what it leaves out takes its default. ``If-None-Match: *`` makes a new one."""
    return await _write(request, await replacement(request))


async def patch(request: web.Request) -> web.Response:
    """RFC 7396: what the body names changes, null returns it to its default."""
    return await _write(request, await merge_patch(request))


async def _write(request: web.Request, body_of: BodyOf) -> web.Response:
    app, clinic_id, identity = request.app, clinic_of(request), identity_of(request)
    makes_new = request.headers.get("If-None-Match", "").strip() == "*"
    wanted_versions = None if makes_new else required_version(request)
    async with app[POOL].connection() as connection:
        found = await policies.lock(connection, clinic_id)
        if found is None and not makes_new:
            raise Problem(412, "There is none yet: send `If-None-Match: *` to make it.")
        wanted = parsed(Policy, body_of({} if found is None else _content(found)))
        draft = {"clinic_id": clinic_id, **wanted.model_dump()}
        _check(draft, {} if found is None else found.content, app[NAMES])
        written = await policies.put(connection, app[RECORDS], draft, identity.actor)
        expected = not makes_new and (wanted_versions is None or (found and str(found.version) in wanted_versions))
        if written.outbox_ids and found is not None and not expected:
            raise changed_since(found.version)
        stored = await policies.current(connection, clinic_id)
        ids = written.outbox_ids or await unpublished(connection, [(POLICIES, clinic_id.encode())])
    if stored is None:
        raise not_found()
    await app[IN_FORCE].wait(ids, app[SETTINGS].api_in_force_seconds)
    return _answer(clinic_id, stored)


def _check(draft: dict[str, Any], before: Mapping[str, Any], names: Names) -> None:
    """What no policy can say, by the names that the caller knows."""
    whole = {**draft, "version": 1, "wrapped_key": b"", "updated_at": datetime.now(UTC), "updated_by": ""}
    wrong = [Violation(served_path(v.field), v.shape, v.mend) for v in violations(POLICY, whole)]
    stood_timings = before.get("timings", ())
    wrong += [
        Violation(served_path(path), shape, mend)
        for path, shape, mend in (*policies.weekday_faults(draft), *names.timing_faults(draft["timings"]))
        # What stood there before may stay: catalogues change.
        if not path.startswith("timings.") or draft["timings"][int(path.split(".")[1])] not in stood_timings
    ]
    hours = draft["quiet_hours"]
    if hours is not None and hours["start"] == hours["end"]:
        wrong.append(Violation("quietHours.end", "the same as start", "end them at another time, or send null"))
    stood = before.get("quiet_hours") or {}
    excepted, stood_excepted = hours["exceptions"] if hours else (), stood.get("exceptions", ())
    for name, known, mend in (
        ("disabled_types", names.types, MEND_TYPE),
        ("digest_categories", names.categories, MEND_CATEGORY),
        ("category_caps", names.categories, MEND_CATEGORY),
    ):
        wrong += unknown(served_path(name), draft[name], before.get(name, ()), known, mend)
    wrong += unknown("quietHours.exceptions", excepted, stood_excepted, names.words, MEND_WORD)
    if wrong:
        raise unusable(wrong)


def _content(found: Current) -> dict[str, Any]:
    """A stored policy as its document, without what is ours."""
    return {served_path(name): _camel(value) for name, value in found.content.items() if name not in _OURS}


def _camel(value: Any) -> Any:
    """Of records in a policy, not of its maps, whose keys are the clinic's."""
    if isinstance(value, list):
        return [_camel(item) for item in value]
    return {served_path(name): part for name, part in value.items()} if _is_record(value) else value


def _is_record(value: Any) -> bool:
    return isinstance(value, dict) and ({"start", "end"} <= value.keys() or "notification_type" in value)


def _answer(clinic_id: str, found: Current) -> web.Response:
    served = {
        "clinicId": clinic_id,
        "version": found.version,
        **_content(found),
        "updatedAt": found.updated_at,
        "updatedBy": found.updated_by,
    }
    return answered(served, found.version)


_STORED = Answer(200, "Stored, and in force: the policy as it is now", StoredPolicy, etag=True)
_NEW_ONE = Parameter("If-None-Match", "header", "`*` to make a policy where there is none.")

ROUTES = (
    Route(
        "GET",
        PATH,
        read,
        access.READ_POLICIES,
        "Read a clinic's policy",
        (Answer(200, "The policy", StoredPolicy, etag=True), Answer(304, "Not changed since", etag=True)),
        parameters=(CLINIC, IF_NONE_MATCH),
        problems=(404,),
        tag="policies",
    ),
    Route(
        "PUT",
        PATH,
        replace_all,
        access.CHANGE_POLICIES,
        "Replace a clinic's policy",
        (_STORED,),
        takes=Policy,
        parameters=(CLINIC, IF_MATCH, _NEW_ONE),
        problems=(404, 412, 428),
        tag="policies",
    ),
    Route(
        "PATCH",
        PATH,
        patch,
        access.CHANGE_POLICIES,
        "Change some of a clinic's policy",
        (_STORED,),
        takes=Policy,
        takes_type=MERGE_PATCH,
        parameters=(CLINIC, IF_MATCH),
        problems=(404, 412, 428),
        tag="policies",
    ),
)
