"""The tables that the pipeline joins, made as Postgres would publish them, and changed as the virtual clock goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cli.simulation.parts import recipient_of
from connectors.demo.script import Happening, Wished
from connectors.postgres.gates import consent_gate
from connectors.postgres.preference_gates import turned
from connectors.postgres.recipient_patch import Patch
from connectors.postgres.recipients import Recipient, checked
from connectors.postgres.records import POLICY, Records, clinic_subject
from connectors.sealing import DataKey, KeyRing
from connectors.sealing.keyring import ensure_key_ring
from connectors.settings import Settings
from schemas.codec import Codec
from schemas.registry import FileRegistry
from schemas.topics import TEMPLATES
from schemas.validation import violations
from sinks.runtime.gates import Gate, Gates
from streams.catalog import Catalog
from streams.render.sources import load_templates
from streams.roster import StaffRoster
from streams.tables import Templates

_CHANGED_BY = "simulation"


class PolicyFault(Exception):
    """A policy holds something impossible; the message names the field, its shape and the mend."""


class Keys:
    """The keys of one run: of everybody whom its script knows, made before it begins, so that processes may share them."""

    def __init__(self, folder: Path) -> None:
        """``folder``: where the key ring lies. Raises OSError."""
        self.ring: KeyRing = ensure_key_ring(Settings(state_dir=folder, kek_file=folder / "keys.json"))
        self.codec = Codec(FileRegistry())
        self._found: dict[str, tuple[bytes, DataKey]] = {}

    def make(self, script: Iterable[Happening]) -> None:
        """Those of people, who are made where a line names their clinic first."""
        for one in script:
            if isinstance(one, Wished) and (clinic_id := one.cells.get("clinic_id")):
                self.wrapped(recipient_of(one.cells), clinic_id)

    def wrapped(self, subject: str, clinic_id: str) -> bytes:
        """A subject's key as tables carry it; made where there is none."""
        found = self._found.get(subject)
        if found is None:
            found = self._found[subject] = self.ring.new_data_key(subject, clinic_id)
        return found[0]

    def of(self, subject: str) -> DataKey | None:
        """A subject's key."""
        found = self._found.get(subject)
        return None if found is None else found[1]


def made_templates(codec: Codec, catalog: Catalog) -> Templates:
    """The product's own texts (luxe.pipeline.Template), as the active version of each."""
    templates = Templates(codec)
    for row in load_templates(catalog):
        key = f"{row['template_id']}/{row['channel']}/{row['locale']}/{row['version']}"
        templates.changed(key.encode(), codec.encode(TEMPLATES, "luxe.pipeline.Template", row))
    return templates


class Tables:
    """See the module. ``gates``: as sinks hold them, just before each call."""

    def __init__(self, keys: Keys, templates: Templates) -> None:
        self._keys = keys
        self.ring, self.codec, self.templates = keys.ring, keys.codec, templates
        self._records = Records(self.ring, self.codec)
        self.recipients: dict[bytes, bytes] = {}
        self.policies: dict[bytes, bytes] = {}
        self.notify_gates: dict[bytes, bytes] = {}  # none of these closes an address: those are sinks' alone here
        self.gates = Gates()
        self.roster = StaffRoster(self.codec)
        self._people: dict[str, Recipient] = {}

    def put_policy(self, policy: Mapping[str, Any], now_ms: int) -> None:
        """A clinic, with its key for strangers. Raises PolicyFault, CodecError."""
        clinic_id = str(policy["clinic_id"])
        subject = clinic_subject(clinic_id)
        whole = {
            **policy,
            "version": 1,
            "wrapped_key": self._keys.wrapped(subject, clinic_id),
            "updated_at": _at(now_ms),
            "updated_by": _CHANGED_BY,
        }
        filled = self.codec.decode_bare(POLICY, self.codec.encode_bare(POLICY, whole))
        for violation in violations(POLICY, filled):
            raise PolicyFault(str(violation))
        self.policies[clinic_id.encode()] = self._records.encode_policy(filled)

    def put_person(self, cells: Mapping[str, str], now_ms: int) -> Recipient:
        """Applies a line of ``luxe recipients import``; gates turn as they would. Raises LineProblem, RecipientError."""
        patch = Patch.read(cells)
        before = self._people.get(patch.recipient)
        wanted = patch.applied(before, _CHANGED_BY, _at(now_ms))
        content = checked(self._records, wanted)
        version = 1 if before is None else before.version + 1
        person = Recipient(wanted.recipient, wanted.clinic_id, content, wanted.roles, wanted.active, version)
        wrapped = self._keys.wrapped(person.recipient, person.clinic_id)
        record = {
            "recipient": person.recipient,
            "kind": person.kind,
            "clinic_id": person.clinic_id,
            "version": version,
            "roles": list(person.roles),
            "active": person.active,
            "wrapped_key": wrapped,
            "updated_at": _at(now_ms),
            "sealed": self._records.seal_content(
                self._known(person.recipient), person.recipient, self._records.encode_content(content)
            ),
        }
        value = self._records.encode_recipient(record)
        self.recipients[person.recipient.encode()] = value
        self.roster.changed(person.recipient.encode(), value)
        self._turn_gates(before, person, now_ms)
        self._people[person.recipient] = person
        return person

    def _turn_gates(self, before: Recipient | None, after: Recipient, now_ms: int) -> None:
        was = {} if before is None else before.content
        turn = turned(after.recipient, was, after.content)
        shut, opened = list(turn.shut), list(turn.opened)
        for consent in after.content["consents"]:
            side = {"opted_out": shut, "opted_in": opened}.get(consent["status"])
            if side is not None:
                side.append(consent_gate(after.recipient, consent["consent_type"]))
        for key in opened:
            self.gates.lift(key)
        for key in shut:
            self.gates.put(key, Gate("opted_out", None, None, _at(now_ms)))

    def key_of(self, recipient: str, clinic_id: str) -> DataKey:
        """What a message to somebody is sealed with: their own key, else their clinic's for strangers."""
        known = self._keys.of(recipient if recipient in self._people else clinic_subject(clinic_id))
        return known or self._known(clinic_subject("*"))

    def _known(self, subject: str) -> DataKey:
        found = self._keys.of(subject)
        if found is None:
            raise LookupError("a subject without a key")
        return found


def _at(now_ms: int) -> datetime:
    return datetime.fromtimestamp(now_ms / 1000, UTC)
