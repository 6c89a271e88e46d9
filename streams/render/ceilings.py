"""Surfaces and their PHI ceilings: which level of variables each part of a message may show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Part = Literal["subject", "body", "html"]

# Architecture §6. In-app: title and body are the list; ``html`` holds the detail, shown after sign-in only.
CEILINGS: Mapping[tuple[str, Part], int] = {
    ("sms", "body"): 1,
    ("email", "subject"): 1,
    ("email", "body"): 2,
    ("email", "html"): 2,
    ("push", "subject"): 1,
    ("push", "body"): 1,
    ("in_app", "subject"): 2,
    ("in_app", "body"): 2,
    ("in_app", "html"): 3,
}

# What each channel has to have.
REQUIRED_PARTS: Mapping[str, tuple[Part, ...]] = {
    "sms": ("body",),
    "email": ("subject", "body"),
    "push": ("subject", "body"),
    "in_app": ("subject", "body"),
}


class TemplateError(Exception):
    """A template cannot be used, or not for this event. Names template and variable, never a value."""

    code = "template_error"


class AboveCeilingError(TemplateError):
    """A variable tells more than the surface may show."""

    def __init__(self, variable: str, level: int, channel: str, part: Part, where: str) -> None:
        ceiling = CEILINGS[channel, part]
        super().__init__(
            f"{where}: variable {variable} is level {level}, {channel} {part} shows level {ceiling} at most; "
            "take it out, or say it on a higher surface"
        )
        self.variable, self.level, self.channel, self.part = variable, level, channel, part


def check(channel: str, part: Part, levels: Mapping[str, int], where: str) -> None:
    """Raises AboveCeilingError for the first variable above the ceiling; TemplateError where there is no such surface."""
    ceiling = CEILINGS.get((channel, part))
    if ceiling is None:
        raise TemplateError(f"{where}: {channel} has no {part}; take it out")
    for variable, level in levels.items():
        if level > ceiling:
            raise AboveCeilingError(variable, level, channel, part, where)
