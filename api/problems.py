"""RFC 9457 problem details: what is wrong, at which field, and what mends it; never a value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from aiohttp import web
from pydantic import ValidationError

from schemas.shapes import Violation, shape_of

PROBLEM_TYPE = "application/problem+json"
# A body may be wrong in more places than anybody reads.
MAX_VIOLATIONS = 50

# One title for each status that we answer; the same for every cause of it.
TITLES = {
    400: "The request cannot be read",
    401: "Who is asking?",
    403: "Not allowed",
    404: "Nothing here that you may see or change",
    405: "The method is not one of this resource's",
    409: "It contradicts what is stored",
    412: "It has changed since you read it",
    413: "Too large",
    415: "Not a media type that this resource takes",
    422: "Some fields cannot be used",
    428: "Say which version you change",
    429: "Too many requests",
    431: "Headers too large",
    500: "A fault of ours",
    503: "Not now",
}


class Problem(Exception):
    """An answer that is not what was asked for. ``detail`` says what to do, and quotes nothing of the request."""

    def __init__(
        self,
        status: int,
        detail: str = "",
        *,
        violations: Iterable[Violation] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail or TITLES[status])
        self.status = status
        self.detail = detail
        self.violations = tuple(violations)[:MAX_VIOLATIONS]
        self.headers = dict(headers or {})


def not_found() -> Problem:
    """The one refusal: for what does not exist, and for what does but is not the caller's to see."""
    return Problem(404)


def unusable(violations: Iterable[Violation], detail: str = "") -> Problem:
    """422 with the fields that are wrong."""
    return Problem(422, detail or "Mend the fields listed in `errors`, then send it again.", violations=violations)


def wrong_fields(error: ValidationError) -> Problem:
    """What pydantic found wrong, without the values that it would quote."""
    found = []
    for fault in error.errors(include_url=False):
        path = ".".join(str(step) for step in fault["loc"]) or "(body)"
        found.append(Violation(path, _shape(fault), _mend(fault)))
    return unusable(found)


def _shape(fault: Mapping[str, Any]) -> str:
    if fault["type"] == "missing":
        return "missing"
    return "a field that is not known" if fault["type"] == "extra_forbidden" else shape_of(fault.get("input"))


def _mend(fault: Mapping[str, Any]) -> str:
    """What to send instead. Pydantic's own sentences name the rule, but for these, which may quote what was sent."""
    context = fault.get("ctx", {})
    match fault["type"]:
        case "missing":
            return "send it"
        case "extra_forbidden":
            return "leave it out; the fields are listed in /openapi.json"
        case "literal_error" | "enum":
            return f"send one of {context['expected']}"
        case "value_error":
            return str(context["error"])  # raised by a check of ours, whose text is a mend
        case "string_pattern_mismatch":
            return f"send text of the form {context['pattern']}"
        case kind if kind.startswith(("datetime", "timezone")):
            return "send a time as YYYY-MM-DDTHH:MM:SSZ, with its zone"
        case kind if kind.startswith("date"):
            return "send a date as YYYY-MM-DD"
        case kind if kind.endswith("_type") or kind in _BOUNDS:
            return str(fault["msg"])
        case _:
            return "see its schema in /openapi.json"


_BOUNDS = frozenset(
    {
        "string_too_long",
        "string_too_short",
        "too_long",
        "too_short",
        "greater_than",
        "greater_than_equal",
        "less_than",
        "less_than_equal",
    }
)


def answer(problem: Problem, request_id: str) -> web.Response:
    """A problem as it is sent. ``request_id``: what our log names this request by."""
    body: dict[str, Any] = {"type": "about:blank", "title": TITLES[problem.status], "status": problem.status}
    if problem.detail:
        body["detail"] = problem.detail
    body["requestId"] = request_id
    if problem.violations:
        body["errors"] = [{"field": v.field, "shape": v.shape, "mend": v.mend} for v in problem.violations]
    return web.Response(
        body=orjson.dumps(body), status=problem.status, content_type=PROBLEM_TYPE, headers=problem.headers
    )
