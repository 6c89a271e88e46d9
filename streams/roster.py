"""Who works at which clinic in which role: kept up to date from the `recipients` view, read by intake's mapping."""

from __future__ import annotations

import logging
import threading

from schemas.codec import Codec, CodecError, LaterSchemaError
from streams.runtime.errors import outdated

log = logging.getLogger(__name__)

_STAFF = b"staff:"


class StaffRoster:
    """Active staff by clinic and role. ``changed`` is called by the view's thread, ``staff_of`` by the agent's."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._lock = threading.Lock()
        self._members: dict[str, tuple[str, frozenset[str]]] = {}  # recipient key → (clinic, roles)
        self._found: dict[tuple[str, str], tuple[str, ...]] = {}

    def __repr__(self) -> str:
        return f"<StaffRoster of {len(self._members)}>"

    def changed(self, key: bytes, value: bytes | None) -> None:
        """Follows one record of the view. Patients' records are passed over unread. Raises FatalError for a later release's."""
        if not key.startswith(_STAFF):
            return
        try:
            record = None if value is None else self._codec.decode(value).value
        except LaterSchemaError as error:
            raise outdated("recipients", error) from error
        except CodecError as error:
            log.error("a staff member's record cannot be read (%s); what was known before still holds", error.code)  # noqa: TRY400
            return
        with self._lock:
            if record is None or not record["active"]:
                self._members.pop(key.decode(), None)
            else:
                self._members[key.decode()] = (record["clinic_id"], frozenset(record["roles"]))
            self._found.clear()

    def staff_of(self, clinic_id: str, role: str) -> tuple[str, ...]:
        """Recipient keys of the clinic's active staff with that role, in the order of their keys."""
        found = self._found.get((clinic_id, role))
        if found is None:
            with self._lock:
                found = self._found[clinic_id, role] = tuple(
                    sorted(
                        key for key, (clinic, roles) in self._members.items() if clinic == clinic_id and role in roles
                    )
                )
        return found
