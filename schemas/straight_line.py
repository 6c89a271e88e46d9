"""Functions made as text: the lines of one, and the objects that they name. For readers and writers compiled from schemas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class UnsupportedSchemaError(Exception):
    """A schema of a kind that is not compiled (a decimal, a recursive record)."""


class Source:
    """The lines of one function. ``names``: what they may name from the beginning."""

    def __init__(self, **names: Any) -> None:
        self.lines: list[str] = []
        self.names = names
        self._count = 0

    def fresh(self, stem: str) -> str:
        """A name that nothing else has."""
        self._count += 1
        return f"{stem}{self._count}"

    def named(self, stem: str, value: Any) -> str:
        """A name for an object."""
        name = self.fresh(stem)
        self.names[name] = value
        return name

    def add(self, depth: int, *lines: str) -> None:
        """Adds lines, so deep."""
        self.lines.extend("    " * depth + line for line in lines)

    def compiled(self, function: str, title: str) -> Callable[..., Any]:
        """The function that the lines define; ``title``: what tracebacks call it."""
        # Safe: the text is made from committed schemas by those who use this, as dataclasses and Jinja make theirs.
        exec(compile("\n".join(self.lines), title, "exec"), self.names)  # noqa: S102
        made: Callable[..., Any] = self.names[function]
        return made
