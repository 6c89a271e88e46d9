"""Gates that a preference shuts, for what was decided before it was withdrawn and waits to be sent.

Each preference by which a recipient can say no has a gate, under the preference's own name. A message names those that it needs
(``preferences`` of luxe.pipeline.ChannelMessage); what is essential needs none. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from connectors.postgres.records import RECIPIENT_CONTENT
from schemas.definitions import definition, full_name, named_types

# What a no is, by the preference's name: a switch that is off; for these, one that is on, or a word.
_NO: Mapping[str, frozenset[Any]] = {
    "global_opt_out": frozenset({True}),
    "frequency_marketing": frozenset({"never", "none"}),
    "frequency_reviews": frozenset({"never", "none"}),
    "frequency_follow_ups": frozenset({"never", "none"}),
}
_OFF: frozenset[Any] = frozenset({False})


class Turned(NamedTuple):
    """Keys of the gates that a change of preferences shuts and opens."""

    shut: list[str]
    opened: list[str]


def preference_gate(recipient: str, name: str) -> str:
    """Key of the gate that a preference shuts; ``name`` as in ``names``."""
    return f"preference:{recipient}:{name}"


@cache
def names() -> Mapping[str, Any]:
    """Every preference with a gate, a group's dotted (``sms_opt_in.marketing``), and its value where nobody was ever asked."""
    return dict(_switches())


def turned(recipient: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Turned:
    """What a change from one content (luxe.pipeline.RecipientContent) to another turns."""
    was, is_now = _withdrawn(before.get("preferences")), _withdrawn(after.get("preferences"))
    return Turned(
        [preference_gate(recipient, name) for name in sorted(is_now - was)],
        [preference_gate(recipient, name) for name in sorted(was - is_now)],
    )


def keys(recipients: Sequence[str]) -> list[str]:
    """Keys of all such gates of these recipients."""
    return [preference_gate(recipient, name) for recipient in recipients for name in names()]


def _withdrawn(preferences: Mapping[str, Any] | None) -> frozenset[str]:
    return frozenset(
        name for name, default in names().items() if _value(preferences, name, default) in _NO.get(name, _OFF)
    )


def _value(preferences: Mapping[str, Any] | None, name: str, default: Any) -> Any:
    if preferences is None:
        return default
    group, _, field = name.partition(".")
    return preferences[group][field] if field else preferences[group]


def _switches() -> Iterator[tuple[str, Any]]:
    named = {full_name(node): node for node in named_types(definition(RECIPIENT_CONTENT))}
    for field in named["luxe.pipeline.Preferences"]["fields"]:
        name = field["name"]
        if name.endswith("_opt_in"):
            group = field["type"]
            record = named[group if isinstance(group, str) else full_name(group)]
            yield from ((f"{name}.{one['name']}", one["default"]) for one in record["fields"])
        elif name in _NO or name.endswith("_enabled") or name.startswith("category_"):
            yield name, field["default"]
