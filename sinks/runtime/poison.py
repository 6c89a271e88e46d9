"""A record that cannot be delivered, now or later."""

from __future__ import annotations


class PoisonError(Exception):
    """This one record goes to the dead letters; its neighbours go on.

    ``code`` is enumerated; ``explanation`` names the field, the value's shape and the mend, never the value.
    """

    def __init__(self, code: str, explanation: str, field: str | None = None) -> None:
        super().__init__(f"{code}: {explanation}")
        self.code = code
        self.explanation = explanation
        self.field = field
