"""The tables that are joined: recipients, clinics' policies, templates, gates. Views hold bytes, rules read objects.

What is decoded is kept, bounded, until the view holds other bytes. A record that cannot be read is never taken for a missing one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from connectors.sealing import DataKey, KeyCache, KeyRing, SealError, open_sealed
from schemas.codec import Codec, CodecError, LaterSchemaError
from streams.render.ceilings import TemplateError
from streams.render.engine import CompiledTemplate
from streams.render.formats import fallbacks
from streams.rules.limits import Limits, limits_of
from streams.rules.local_time import ClinicTime, clinic_time
from streams.rules.person import Person, Quiet, person_of, quiet_of
from streams.rules.terms import Channel
from streams.rules.timing import known_zone
from streams.runtime.errors import FatalError, PoisonError, outdated

# Decoded recipients at hand: about 4 KB each. A day's traffic of one partition fits.
RECIPIENTS_CACHED = 25_000
# Texts found, by type, channel and the two locales asked for: far above what clinics speak; recipients' locales are free text.
TEMPLATES_FOUND = 16_384
# The policy that stands in for clinics we do not know, and whose strangers key seals what belongs to nobody we know.
SYSTEM_CLINIC = "*"


class Lookup(Protocol):
    """What a view is to its users: ``streams.runtime.View``."""

    def get(self, key: bytes) -> bytes | None:
        """The value, None where there is none."""


class UnreadableError(PoisonError):
    """A record of a table that this event needs cannot be read. Not the same as missing: nothing may be decided without it."""

    code = "unreadable_record"


class Recipient:
    """A known recipient: the person, their data key, and the gates that may stand before them."""

    __slots__ = ("gates", "key", "person", "raw")

    def __init__(self, raw: bytes, person: Person, key: DataKey, ring: KeyRing) -> None:
        self.raw, self.person, self.key = raw, person, key
        self.gates = {sender: address_gates(ring, person, sender) for sender in ("care", "marketing")}


def address_gates(ring: KeyRing, person: Person, sender_class: str) -> tuple[tuple[Channel, tuple[bytes, ...]], ...]:
    """Channel → the keys of the gates that close its address for one class of sender."""
    found: list[tuple[Channel, tuple[bytes, ...]]] = []
    for channel, address in person.addresses.items():
        if channel == "in_app":
            continue
        try:
            digest = ring.address_hash(channel, address)
        except ValueError:
            continue  # not a number anybody could be reached by; the sink's own check refuses it with its reason
        found.append((channel, tuple(f"address:{channel}:{scope}:{digest}".encode() for scope in (sender_class, "*"))))
    return tuple(found)


class Recipients:
    """The view of recipients."""

    def __init__(self, view: Lookup, codec: Codec, keys: KeyCache, ring: KeyRing) -> None:
        self._view, self._codec, self._keys, self._ring = view, codec, keys, ring
        self._kept: OrderedDict[str, Recipient] = OrderedDict()

    def get(self, recipient: str) -> Recipient | None:
        """The recipient; None: there is no record of them. Raises UnreadableError; FatalError when the key ring is at fault."""
        raw = self._view.get(recipient.encode())
        if raw is None:
            self._kept.pop(recipient, None)
            return None
        kept = self._kept.get(recipient)
        if kept is None or kept.raw != raw:
            kept = self._kept[recipient] = self._read(recipient, raw)
            if len(self._kept) > RECIPIENTS_CACHED:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(recipient)
        return kept

    def _read(self, recipient: str, raw: bytes) -> Recipient:
        try:
            record = self._codec.decode(raw).value
            key = self._keys.get(record["wrapped_key"], recipient, record["clinic_id"])
            content = self._codec.decode_content(
                "luxe.pipeline.RecipientContent", open_sealed(key, "Recipient", recipient, record["sealed"])
            )
        except (CodecError, SealError) as error:
            raise _unreadable("recipients", error) from error
        try:
            person = person_of(record, content)
        except ValueError as error:
            raise UnreadableError("recipients: quiet hours that are no times of day; write HH:MM") from error
        return Recipient(raw, person, key, self._ring)


@dataclass(frozen=True, slots=True, repr=False)
class Clinic:
    """A clinic's policy and its strangers key."""

    raw: bytes
    policy: Mapping[str, Any]
    key: DataKey
    disabled_types: frozenset[str]
    disabled_channels: frozenset[Channel]
    zone: str
    time: ClinicTime
    quiet: Quiet | None
    limits: Limits

    def __repr__(self) -> str:
        return f"<Clinic policy version {self.policy['version']}>"


class Clinics:
    """The view of policies."""

    def __init__(self, view: Lookup, codec: Codec, keys: KeyCache) -> None:
        self._view, self._codec, self._keys = view, codec, keys
        self._kept: dict[str, Clinic] = {}

    def get(self, clinic_id: str) -> Clinic:
        """The clinic, or the system's stand-in for an unknown one. Raises UnreadableError, FatalError."""
        raw = self._view.get(clinic_id.encode())
        if raw is None:
            if clinic_id == SYSTEM_CLINIC:
                raise FatalError("there is no policy `*` yet; load the defaults with `luxe up`")
            return self.get(SYSTEM_CLINIC)
        kept = self._kept.get(clinic_id)
        if kept is None or (kept.raw is not raw and kept.raw != raw):
            kept = self._kept[clinic_id] = self._read(clinic_id, raw)
        return kept

    def _read(self, clinic_id: str, raw: bytes) -> Clinic:
        try:
            policy = self._codec.decode(raw).value
            key = self._keys.get(policy["wrapped_key"], f"clinic:{clinic_id}", clinic_id)
        except (CodecError, SealError) as error:
            raise _unreadable("policies", error) from error
        types, channels = frozenset(policy["disabled_types"]), frozenset(policy["disabled_channels"])
        try:
            quiet = quiet_of(policy["quiet_hours"])
        except ValueError as error:
            raise UnreadableError("policies: quiet hours that are no times of day; write HH:MM") from error
        clinic_zone = known_zone(policy["time_zone"]) or "UTC"
        return Clinic(raw, policy, key, types, channels, clinic_zone, clinic_time(policy), quiet, limits_of(policy))


class Templates:
    """The view of templates, indexed by what a rendering asks for. ``changed`` is called by the view's reader thread."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        # (template id, channel, locale) → version → record. Inner maps are replaced, never changed: another thread reads them.
        self._rows: dict[tuple[str, str, str], dict[int, bytes]] = {}
        self._found: dict[tuple[str, str, str, str], CompiledTemplate] = {}

    def changed(self, key: bytes, value: bytes | None) -> None:
        """A row of the topic: ``template_id/channel/locale/version``."""
        parts = key.decode("utf-8", "replace").split("/")
        if len(parts) != 4 or not parts[3].isdecimal():
            return  # not a key of ours; nothing can ask for it
        place, version = (parts[0], parts[1], parts[2]), int(parts[3])
        versions = {number: row for number, row in self._rows.get(place, {}).items() if number != version}
        if value is not None:
            versions[version] = value
        self._rows[place] = versions
        self._found = {}

    def find(self, template_id: str, channel: str, locale: str, clinic_locale: str) -> CompiledTemplate:
        """The active version in the best language there is. Raises TemplateError with code ``template_missing``."""
        found = self._found  # taken before the rows are read: a change meanwhile begins another
        compiled = found.get((template_id, channel, locale, clinic_locale))
        if compiled is None:
            compiled = self._look_up(template_id, channel, fallbacks(locale, clinic_locale))
            if len(found) >= TEMPLATES_FOUND:
                found.clear()
            found[template_id, channel, locale, clinic_locale] = compiled
        return compiled

    def _look_up(self, template_id: str, channel: str, locales: Sequence[str]) -> CompiledTemplate:
        for locale in locales:
            versions = self._rows.get((template_id, channel, locale), {})
            for number in sorted(versions, reverse=True):
                try:
                    row = self._codec.decode(versions[number]).value
                except CodecError as error:
                    raise _unreadable("templates", error) from error
                if row["status"] == "active":
                    return CompiledTemplate(row)
        raise TemplateMissingError(
            f"template {template_id}/{channel} has no active version in {', '.join(locales)}; "
            "publish one with `luxe templates publish`"
        )


class TemplateMissingError(TemplateError):
    """There is no text for this type and channel."""

    code = "template_missing"


class Gates:
    """The view of gates, as notify asks it: for the reason of a decision. Sinks ask again just before the call."""

    def __init__(self, view: Lookup, codec: Codec) -> None:
        self._view, self._codec = view, codec

    def closed(self, key: bytes, now_ms: int) -> bool:
        """Whether the gate stands now. Raises FatalError for one of a later release."""
        raw = self._view.get(key)
        if raw is None:
            return False
        try:
            expires_at = self._codec.decode(raw).value["expires_at"]
        except LaterSchemaError as error:
            raise outdated("gates", error) from error
        except CodecError:
            return True  # somebody closed it; what cannot be read stays closed
        return expires_at is None or expires_at.timestamp() * 1000 > now_ms

    def suppressed(self, gates: Sequence[tuple[Channel, tuple[bytes, ...]]], now_ms: int) -> tuple[Channel, ...]:
        """Channels whose address a gate closes."""
        get = self._view.get
        return tuple(
            channel for channel, keys in gates if any(get(key) is not None and self.closed(key, now_ms) for key in keys)
        )


def _unreadable(topic: str, error: CodecError | SealError) -> Exception:
    if isinstance(error, SealError) and error.code == "unknown_kek":
        return FatalError(f"{topic}: {error}")  # every event would end like this one: somebody must mend the ring
    return outdated(topic, error) if isinstance(error, LaterSchemaError) else UnreadableError(f"{topic}: {error}")
