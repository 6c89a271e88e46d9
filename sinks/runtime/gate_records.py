"""What one record of the gates' topics does to the view of them: shuts, lifts, or says what nobody here can read yet. No I/O."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from schemas.codec import Codec, CodecError, LaterSchemaError
from schemas.registry import RegistryUnavailableError
from sinks.runtime.gates import Gate, Gates
from sinks.runtime.later_schemas import LaterSchemas

log = logging.getLogger(__name__)

RECORD = "luxe.pipeline.Gate"
# Gates of later releases that are kept to be tried again, 1 kB each. Those past it wait to be written anew, or for a restart.
UNREAD_KEPT = 20_000
_FRAME_BYTES = 5


class GateRecords:
    """Applies records to ``gates``, from one thread. What a later release shut is kept as it came (200 bytes) and tried again."""

    def __init__(self, gates: Gates, codec: Codec, later: LaterSchemas) -> None:
        self._gates, self._codec, self._later = gates, codec, later
        self._unread: dict[str, bytes] = {}

    def apply(self, key: bytes | None, value: bytes | None, where: str) -> None:
        """One record, in its partition's order. ``where``: its place, for the log. Raises RegistryUnavailableError."""
        name = _text(key)
        if not name:
            # No look-up could ever find it. Ending over it would end every sink, at every start, while it lies there.
            log.error("%s: a gate without a readable key shuts nothing; write it under its key", where)
            return
        if self._unread.pop(name, None) is not None:
            self._later.over((RECORD, name))
        if value is None:
            self._gates.lift(name)
            return
        try:
            gate = self._gate(value)
        except LaterSchemaError as error:
            # Whom it shuts out, and until when, nobody here knows: who it is about waits, and nobody else does.
            self._later.tell(error)
            if len(self._unread) < UNREAD_KEPT:
                self._unread[name] = value
                self._later.waits((RECORD, name), error)
            gate = Gate.of_later_release(datetime.now(UTC))
        except CodecError as error:
            # It forbids something under this key, nobody can read what: closed, until it is written anew or lifted.
            log.error(  # noqa: TRY400 - the codec's error says it all, a trace says nothing more
                "%s: %s; the gate counts as closed, write it anew under the same key", where, error.code
            )
            gate = Gate("unreadable", None, None, datetime.now(UTC))
        self._gates.put(name, gate)

    def try_again(self) -> None:
        """Read what could not be read: its schema may be in the registry by now. Each schema is asked for once."""
        unknown: set[bytes] = set()
        for name, value in list(self._unread.items()):
            if value[:_FRAME_BYTES] in unknown:
                continue
            try:
                gate = self._gate(value)
            except LaterSchemaError:
                unknown.add(value[:_FRAME_BYTES])
                continue
            except RegistryUnavailableError:
                return  # one time-out, not one for each: meanwhile no gate is followed, and at last nothing is sent
            except CodecError as error:
                log.error("a gate that was kept unread: %s; it counts as closed", error.code)  # noqa: TRY400 - as above
                gate = Gate("unreadable", None, None, datetime.now(UTC))
            self._gates.put(name, gate)
            del self._unread[name]
            self._later.over((RECORD, name))

    def _gate(self, value: bytes) -> Gate:
        decoded = self._codec.decode(value)
        if decoded.name != RECORD:
            raise CodecError("schema_violation", f"a {decoded.name} where a Gate is expected")
        return Gate.of(decoded.value)


def _text(key: bytes | None) -> str:
    try:
        return (key or b"").decode()
    except UnicodeDecodeError:
        return ""
