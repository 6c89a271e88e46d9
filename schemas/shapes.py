"""What is wrong with a value, told without telling the value: field, shape (type and length), mend."""

from __future__ import annotations

from typing import NamedTuple


class Violation(NamedTuple):
    """One thing wrong: the field's path, the shape of what was there, and what to send instead."""

    field: str
    shape: str
    mend: str

    def __str__(self) -> str:
        return f"field {self.field}: {self.shape}; {self.mend}"


def shape_of(value: object) -> str:
    """Type and length of a value, never the value."""
    match value:
        case None:
            return "null"
        case str():
            return f"string of {len(value)} characters"
        case bytes() | bytearray() | memoryview():
            return f"{len(value)} bytes"
        case dict():
            return f"map of {len(value)} entries"
        case list() | tuple():
            return f"array of {len(value)} items"
        case _:
            return type(value).__name__
