"""How it is with what was asked, in a few numbers a service: queue depths, and providers lately. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from connectors.metrics import catalogue, streamed
from connectors.metrics.asking import Answer

# A word for the state of a channel, worst first: see ``_state``.
PAUSED, NO_PROVIDER, FAILING = "paused", "no answer", "failing"
WAITING, WELL, IDLE = "queueing", "well", "idle"
_BADNESS = ("closed", "half_open", "open")
# Of the last minutes' calls: below, single failures are the weather; from half on it is not the messages.
FAILING_SHARE = 0.5
FEW_CALLS = 3


def health(answers: Iterable[Answer]) -> dict[str, dict[str, Any]]:
    """Service → what to know of it, added up over its processes. JSON through and through; times in seconds since 1970."""
    by_service: dict[str, list[Answer]] = {}
    for answer in answers:
        by_service.setdefault(answer.target.service, []).append(answer)
    return {service: _of(service, found) for service, found in sorted(by_service.items())}


def _of(service: str, answers: Sequence[Answer]) -> dict[str, Any]:
    found: dict[str, Any] = {"processes": len(answers), "metrics": [answer.target.url for answer in answers]}
    found |= _present(answers, {"lag_records": catalogue.LAG, "dead_letters": catalogue.DEAD_LETTERS}, sum)
    if service in catalogue.SINKS:
        found["lanes"] = lanes = _lanes(answers)
        found["provider"] = _provider(lanes, _breakers(answers))
    elif service in streamed.STREAMS:
        found |= _present(answers, {"timers_pending": streamed.TIMERS_PENDING, "queued_records": streamed.QUEUED}, sum)
        found |= _present(answers, {"timers_late_seconds": streamed.TIMERS_LATE}, max)
        found |= _present(answers, {"restoring_records": streamed.RESTORE_LEFT}, sum)
    elif service == catalogue.RELAY:
        found |= _present(
            answers, {"outbox_rows": catalogue.OUTBOX_ROWS, "outbox_oldest_seconds": catalogue.OUTBOX_AGE}, max
        )
        waiting = [sample for answer in answers for sample in answer.of(catalogue.RECEIPTS_WAITING.name)]
        for state in ("parked", "quarantined"):
            by_provider: dict[str, float] = {}
            for sample in waiting:
                if sample.labels["state"] == state:
                    at = sample.labels["provider"]
                    by_provider[at] = max(by_provider.get(at, 0), sample.value)
            if waiting:
                found[f"receipts_{state}"] = int(sum(by_provider.values()))
    elif service in catalogue.HTTP:
        found["requests"] = _requests(answers)
    return found


def _present(answers: Sequence[Answer], names: Mapping[str, catalogue.Metric], together: Any) -> dict[str, float]:
    """The totals that the processes have, put together."""
    found = {}
    for word, metric in names.items():
        totals = [total for answer in answers if (total := answer.total(metric.name)) is not None]
        if totals:
            total = together(totals)
            found[word] = int(total) if float(total).is_integer() else round(total, 3)
    return found


def _lanes(answers: Sequence[Answer]) -> dict[str, dict[str, Any]]:
    lanes: dict[str, dict[str, Any]] = {}
    for word, metric in {
        "queued": catalogue.QUEUE,
        "in_flight": catalogue.IN_FLIGHT,
        "recent_calls": catalogue.RECENT_CALLS,
        "recent_errors": catalogue.RECENT_ERRORS,
    }.items():
        for answer in answers:
            for sample in answer.of(metric.name):
                lane = lanes.setdefault(sample.labels["lane"], {})
                lane[word] = lane.get(word, 0) + int(sample.value)
    for answer in answers:
        for sample in answer.of(catalogue.LAST_SUCCESS.name):
            lane = lanes.setdefault(sample.labels["lane"], {})
            lane["last_success"] = max(lane.get("last_success") or 0, sample.value)
    return {
        lane: {"queued": 0, "in_flight": 0, "recent_calls": 0, "recent_errors": 0, "last_success": None} | seen
        for lane, seen in lanes.items()
    }


def _breakers(answers: Sequence[Answer]) -> dict[str, str]:
    """Subject → the worst state that one of the processes has it in."""
    found: dict[str, str] = {}
    for answer in answers:
        for sample in answer.of(catalogue.BREAKERS.name):
            subject, state = sample.labels["subject"], sample.labels["state"]
            if sample.value and _BADNESS.index(state) >= _BADNESS.index(found.get(subject, "closed")):
                found[subject] = state
    return found


def _provider(lanes: Mapping[str, Mapping[str, Any]], breakers: Mapping[str, str]) -> dict[str, Any]:
    calls = sum(lane["recent_calls"] for lane in lanes.values())
    errors = sum(lane["recent_errors"] for lane in lanes.values())
    success = max((lane["last_success"] for lane in lanes.values() if lane["last_success"]), default=None)
    queued = sum(lane["queued"] for lane in lanes.values())
    return {
        "state": PAUSED if set(breakers.values()) - {"closed"} else _state(calls, errors, queued),
        "breakers": dict(breakers),
        "recent_calls": calls,
        "recent_errors": errors,
        "error_rate": round(errors / calls, 4) if calls else None,
        "last_success": success,
    }


def _state(calls: int, errors: int, queued: int) -> str:
    if calls >= FEW_CALLS and errors == calls:
        return NO_PROVIDER
    if calls >= FEW_CALLS and errors >= calls * FAILING_SHARE:
        return FAILING
    if calls == 0:
        return WAITING if queued else IDLE
    return WELL


def _requests(answers: Sequence[Answer]) -> dict[str, int]:
    found: dict[str, int] = {}
    for answer in answers:
        for sample in answer.of(catalogue.REQUESTS.name):
            kind = f"{sample.labels['status'][:1]}xx"
            found[kind] = found.get(kind, 0) + int(sample.value)
    return dict(sorted(found.items()))
