"""How the provider is told to misbehave: rules, their validation, and which of them meets a request.

Pure but for its counters: what a verdict does to a connection is in ``misconduct``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from connectors.loopback.store import Channel

MAX_RULES = 1_000  # more than any test needs; each request looks at every rule
MAX_DELAY_MS = 600_000  # 10 minutes: longer than any client waits

FcmCode = Literal[
    "UNREGISTERED",
    "QUOTA_EXCEEDED",
    "SENDER_ID_MISMATCH",
    "THIRD_PARTY_AUTH_ERROR",
    "INVALID_ARGUMENT",
    "UNAVAILABLE",
    "INTERNAL",
]
EmailEvent = Literal["bounce", "blocked", "dropped", "deferred", "open", "click", "spamreport", "unsubscribe"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Latency(_Strict):
    """Answer later: ``ms`` plus up to ``jitter_ms`` more."""

    kind: Literal["latency"]
    ms: int = Field(ge=0, le=MAX_DELAY_MS)
    jitter_ms: int = Field(0, ge=0, le=MAX_DELAY_MS)


class Status(_Strict):
    """Refuse with an HTTP status, in the provider's own error form; nothing is accepted."""

    kind: Literal["status"]
    status: int = Field(ge=400, le=599)
    retry_after_seconds: int | None = Field(None, ge=0, le=86_400)


class ResetBefore(_Strict):
    """Reset the connection; nothing is accepted."""

    kind: Literal["reset_before"]


class ResetAfter(_Strict):
    """Accept the message (it is kept, receipts follow), then reset the connection instead of answering."""

    kind: Literal["reset_after"]


class Hang(_Strict):
    """Say nothing for ``seconds``, then drop the connection. ``accept`` decides whether the message is kept."""

    kind: Literal["hang"]
    seconds: float = Field(60, gt=0, le=MAX_DELAY_MS / 1000)
    accept: bool = False


class TwilioError(_Strict):
    """Refuse a text at once with a Twilio error code."""

    kind: Literal["twilio_error"]
    code: int = Field(ge=10_000, le=99_999)


class Undelivered(_Strict):
    """Accept a text, then report it ``undelivered`` (or ``failed``) with a Twilio error code."""

    kind: Literal["undelivered"]
    code: int = Field(ge=10_000, le=99_999)
    status: Literal["undelivered", "failed"] = "undelivered"


class EmailOutcome(_Strict):
    """Accept an email, then report this event of it."""

    kind: Literal["email_event"]
    event: EmailEvent
    reason: str | None = Field(None, max_length=500)
    # What the receiving server answered: an enhanced status code (RFC 3463).
    status: str | None = Field(None, pattern=r"^[45]\.[0-9]{1,3}\.[0-9]{1,3}$")

    @model_validator(mode="after")
    def _only_a_server_answers(self) -> Self:
        if self.status is not None and self.event not in ("bounce", "blocked"):
            raise ValueError("status: only a bounce or blocked has one; leave it out")
        return self


class FcmError(_Strict):
    """Refuse a push with an FCM error."""

    kind: Literal["fcm_error"]
    code: FcmCode
    retry_after_seconds: int | None = Field(None, ge=0, le=86_400)


class Receipts(_Strict):
    """Receipts that misbehave. ``never``: nor does the message itself, asked for, know more than that it left."""

    kind: Literal["receipts"]
    mode: Literal["duplicate", "late", "out_of_order", "never", "wrong_signature"]
    late_ms: int = Field(5_000, ge=0, le=MAX_DELAY_MS, description="For mode late: how much later than usual.")


class LookUp(_Strict):
    """Refuse, with an HTTP status, to say what became of a text."""

    kind: Literal["look_up"]
    status: int = Field(ge=400, le=599)
    retry_after_seconds: int | None = Field(None, ge=0, le=86_400)


Effect = Annotated[
    Latency
    | Status
    | ResetBefore
    | ResetAfter
    | Hang
    | TwilioError
    | Undelivered
    | EmailOutcome
    | FcmError
    | Receipts
    | LookUp,
    Field(discriminator="kind"),
]

# Effects that mean something on one channel only.
_CHANNEL_OF_EFFECT: dict[str, Channel] = {
    "twilio_error": "sms",
    "undelivered": "sms",
    "look_up": "sms",
    "email_event": "email",
    "fcm_error": "push",
}


class Rule(_Strict):
    """Which requests, and what happens to them. Everything given must hold; nothing given means every request."""

    effect: Effect
    channel: Channel | None = Field(None, description="Only requests of this channel.")
    to: str | None = Field(
        None, min_length=1, max_length=4_096, description="Only this exact number, address or token."
    )
    nth: int | None = Field(None, ge=1, description="Only the nth request that matches channel and to (from 1).")
    probability: float = Field(1.0, ge=0, le=1, description="Of the matching requests, this share, drawn with seed.")
    seed: int = Field(0, ge=0, description="The same seed and the same requests in order draw the same ones.")
    count: int | None = Field(None, ge=1, description="Stop after this many applications.")

    def __repr__(self) -> str:
        return f"Rule(effect={self.effect.kind!r}, channel={self.channel!r})"


@dataclass(slots=True)
class _InForce:
    """A rule and how often it was met."""

    rule: Rule
    matched: int = 0
    applied: int = 0

    def applies(self, channel: Channel, to: str) -> bool:
        """Whether the rule meets this request; counts it."""
        rule = self.rule
        if (rule.channel is not None and rule.channel != channel) or (rule.to is not None and rule.to != to):
            return False
        if _CHANNEL_OF_EFFECT.get(rule.effect.kind, channel) != channel:
            return False
        self.matched += 1
        if rule.nth is not None and self.matched != rule.nth:
            return False
        if rule.count is not None and self.applied >= rule.count:
            return False
        if rule.probability < 1 and self.draw("applies") >= rule.probability:
            return False
        self.applied += 1
        return True

    def draw(self, what: str) -> float:
        """A number in [0, 1) that depends on the seed and the count of matches only, so that a run can be repeated."""
        digest = hashlib.blake2b(f"{self.rule.seed}:{self.matched}:{what}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64


@dataclass(slots=True)
class Verdict:
    """What the rules say of one request. The default: nothing."""

    latency_ms: float = 0
    refusal: Status | TwilioError | FcmError | None = None
    reset_before: bool = False
    reset_after: bool = False
    hang: Hang | None = None
    undelivered: Undelivered | None = None
    email_events: list[EmailOutcome] = field(default_factory=list)
    receipt_modes: set[str] = field(default_factory=set)
    late_ms: int = 0


NO_FAULT = Verdict()


class FaultsRefused(Exception):
    """The rules given cannot be used; ``problems`` name each field and its mend."""

    def __init__(self, problems: list[dict[str, str]]) -> None:
        super().__init__(f"{len(problems)} problems in the fault rules")
        self.problems = problems


_RULES = TypeAdapter(list[Rule])


class FaultBook:
    """The rules in force, in the order given. One event loop uses it."""

    def __init__(self) -> None:
        self._rules: dict[int, _InForce] = {}
        self._next_id = 1

    def add(self, body: bytes) -> list[int]:
        """Add a rule or a list of rules given as JSON; returns their ids. All or none. Raises FaultsRefused."""
        text = body.strip()
        if text[:1] == b"{":
            text = b"[" + text + b"]"
        try:
            rules = _RULES.validate_json(text)
        except ValidationError as error:
            raise FaultsRefused(
                [
                    {
                        "field": ".".join(str(part) for part in problem["loc"]) or "body",
                        "problem": problem["msg"],
                    }
                    for problem in error.errors(include_input=False, include_url=False)
                ]
            ) from error
        if len(self._rules) + len(rules) > MAX_RULES:
            raise FaultsRefused(
                [
                    {
                        "field": "body",
                        "problem": f"at most {MAX_RULES} rules are kept; DELETE /faults clears them",
                    }
                ]
            )
        ids = []
        for rule in rules:
            self._rules[self._next_id] = _InForce(rule)
            ids.append(self._next_id)
            self._next_id += 1
        return ids

    def clear(self, rule_id: int | None = None) -> int:
        """Remove one rule, or all; returns how many went."""
        if rule_id is None:
            removed = len(self._rules)
            self._rules.clear()
            return removed
        return 0 if self._rules.pop(rule_id, None) is None else 1

    def listed(self) -> list[dict[str, object]]:
        """Every rule with its id and its counters."""
        return [
            {
                "id": rule_id,
                **entry.rule.model_dump(exclude_none=True),
                "matched": entry.matched,
                "applied": entry.applied,
            }
            for rule_id, entry in self._rules.items()
        ]

    def judge(self, channel: Channel, to: str) -> Verdict:
        """What happens to a request. Latencies add up; of refusals the first counts; the rest combine."""
        if not self._rules:
            return NO_FAULT
        verdict: Verdict | None = None
        for entry in self._rules.values():
            if not isinstance(entry.rule.effect, LookUp) and entry.applies(channel, to):
                verdict = verdict or Verdict()
                _apply(entry, verdict)
        return verdict or NO_FAULT

    def judge_look_up(self, to: str) -> Status | None:
        """Whether the question what became of a text is refused."""
        for entry in self._rules.values():
            effect = entry.rule.effect
            if isinstance(effect, LookUp) and entry.applies("sms", to):
                return Status(kind="status", status=effect.status, retry_after_seconds=effect.retry_after_seconds)
        return None


def _apply(entry: _InForce, verdict: Verdict) -> None:
    effect = entry.rule.effect
    match effect:
        case Latency():
            verdict.latency_ms += effect.ms + entry.draw("jitter") * effect.jitter_ms
        case Status() | TwilioError() | FcmError():
            verdict.refusal = verdict.refusal or effect
        case ResetBefore():
            verdict.reset_before = True
        case ResetAfter():
            verdict.reset_after = True
        case Hang():
            verdict.hang = effect
        case Undelivered():
            verdict.undelivered = verdict.undelivered or effect
        case EmailOutcome():
            verdict.email_events.append(effect)
        case Receipts():
            verdict.receipt_modes.add(effect.mode)
            if effect.mode == "late":
                verdict.late_ms = max(verdict.late_ms, effect.late_ms)
