"""The key ring: master key-encryption keys in one file of mode 0600. Losing the file loses all sealed PHI: back it up apart.

File: ``{"active": "k1", "keys": {"k1": "<base64, 32 bytes>"}, "address_secret": "<base64, 32 bytes>"}``. A clinic's
key-encryption key is derived from a master key (HKDF-SHA256), so clinics are separate without a key of theirs to keep.
``address_secret`` is never rotated: suppressions are looked up by the hashes made with it, and links in old emails open by it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import os
import re
import stat
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from os import urandom
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from connectors.sealing.nonces import NONCE_BYTES
from connectors.sealing.sealed import KEY_BYTES, TAG_BYTES, DataKey, SealError
from connectors.settings import Settings

WRAP_VERSION = 1
_WRAPPED_TAIL_BYTES = NONCE_BYTES + KEY_BYTES + TAG_BYTES
_KEK_ID = re.compile(r"k[1-9][0-9]{0,5}")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_PHONE_PUNCTUATION = re.compile(r"[\s().\-/]")
# Enough for every clinic of a large group at two generations of keys; each entry is one derived key.
_MAX_DERIVED = 4096
# 128 bits of HMAC: collisions between addresses do not happen, and gate keys stay short.
ADDRESS_HASH_HEX_DIGITS = 32


class KeyRingError(Exception):
    """The key ring's file cannot be used; the message names the file and the mend."""


@dataclass(frozen=True, slots=True, repr=False)
class _Contents:
    """What the file holds, decoded."""

    active: str
    keys: Mapping[str, bytes]
    address_secret: bytes


class KeyRing:
    """Wraps and unwraps data keys. Notices by itself when a rotation has added a key to its file."""

    def __init__(self, contents: _Contents, path: Path) -> None:
        self._path = path
        self._seen = (0, 0)
        self._derived: dict[tuple[str, str], AESGCM] = {}
        self._use(contents)

    def __repr__(self) -> str:
        return f"KeyRing(active={self.active!r}, keys={len(self._contents.keys)})"

    @classmethod
    def load(cls, path: Path) -> KeyRing:
        """Read the ring. Raises KeyRingError: missing, readable by others than its owner, or not a ring."""
        return cls(_read(path), path)

    @property
    def active(self) -> str:
        """Id of the key-encryption key that wraps new data keys."""
        return self._contents.active

    @property
    def kek_ids(self) -> tuple[str, ...]:
        """Ids of all key-encryption keys, oldest first."""
        return tuple(self._contents.keys)

    # Data keys

    def new_data_key(self, subject: str, clinic_id: str) -> tuple[bytes, DataKey]:
        """A new random data key of ``subject`` (recipient key, or ``clinic:<id>``): wrapped, and ready to use."""
        key = urandom(KEY_BYTES)
        return self._wrap(key, subject, clinic_id), DataKey(key, subject)

    def unwrap(self, wrapped: bytes, subject: str, clinic_id: str) -> DataKey:
        """The data key. Raises SealError: truncated, unknown_version, unknown_kek, unauthentic."""
        return DataKey(self._unwrap(wrapped, subject, clinic_id), subject)

    def rewrap(self, wrapped: bytes, subject: str, clinic_id: str, to_clinic_id: str | None = None) -> bytes:
        """The same data key under the active key-encryption key (of ``to_clinic_id``, for one who moved)."""
        return self._wrap(self._unwrap(wrapped, subject, clinic_id), subject, to_clinic_id or clinic_id)

    def _wrap(self, key: bytes, subject: str, clinic_id: str) -> bytes:
        self._refresh()
        kek_id = self.active
        nonce = urandom(NONCE_BYTES)
        sealed_key = self._kek(kek_id, clinic_id).encrypt(nonce, key, subject.encode())
        return bytes((WRAP_VERSION, len(kek_id))) + kek_id.encode() + nonce + sealed_key

    def _unwrap(self, wrapped: bytes, subject: str, clinic_id: str) -> bytes:
        kek_id = kek_id_of(wrapped)
        if kek_id not in self._contents.keys:
            self._refresh()
        if kek_id not in self._contents.keys:
            raise SealError(
                "unknown_kek",
                f"a data key is wrapped by {kek_id}, the ring holds {', '.join(self.kek_ids)}; "
                "restore the ring's file from its backup",
            )
        start = 2 + len(kek_id)
        nonce, sealed_key = wrapped[start : start + NONCE_BYTES], wrapped[start + NONCE_BYTES :]
        try:
            return self._kek(kek_id, clinic_id).decrypt(nonce, sealed_key, subject.encode())
        except InvalidTag:
            raise SealError(
                "unauthentic",
                f"a data key wrapped by {kek_id} does not open for this subject and clinic; the row was altered, or "
                "the ring's file is another installation's",
            ) from None

    def _kek(self, kek_id: str, clinic_id: str) -> AESGCM:
        kek = self._derived.get((kek_id, clinic_id))
        if kek is None:
            derivation = HKDF(SHA256(), KEY_BYTES, salt=None, info=b"luxe-kek\0" + clinic_id.encode())
            kek = AESGCM(derivation.derive(self._contents.keys[kek_id]))
            if len(self._derived) >= _MAX_DERIVED:
                self._derived.clear()
            self._derived[kek_id, clinic_id] = kek
        return kek

    # Addresses

    def address_hash(self, channel: str, address: str) -> str:
        """What an address is looked up by: 32 hex digits of an HMAC over channel and normalised address.

        sms: E.164, punctuation ignored; email: trimmed, lower case; others: as they are. Raises ValueError for a phone number
        that is not international (its country is unknown here).
        """
        text = f"{channel}\0{_normalised(channel, address)}".encode()
        return hmac.digest(self._address_key, text, "sha256").hex()[:ADDRESS_HASH_HEX_DIGITS]

    def link_key(self, purpose: str) -> AESGCM:
        """What seals the tokens of links. Like address hashes, they outlive rotations: an email is opened months later."""
        return AESGCM(self._outliving(b"luxe-link\0", purpose))

    def naming_key(self, purpose: str) -> bytes:
        """What keyed hashes are made with that name things for others; outlives rotations too."""
        return self._outliving(b"luxe-naming\0", purpose)

    def _outliving(self, use: bytes, purpose: str) -> bytes:
        derivation = HKDF(SHA256(), KEY_BYTES, salt=None, info=use + purpose.encode())
        return derivation.derive(self._contents.address_secret)

    # The file

    def add_kek(self) -> str:
        """Make a new key-encryption key, write it to the file, make it the active one; its id."""
        current = _read(self._path)
        kek_id = f"k{max(int(name[1:]) for name in current.keys) + 1}"
        changed = _Contents(kek_id, {**current.keys, kek_id: urandom(KEY_BYTES)}, current.address_secret)
        _replace(self._path, changed)
        self._use(changed)
        return kek_id

    def retire_kek(self, kek_id: str) -> None:
        """Destroy a key-encryption key that wraps nothing any more (the caller made sure). Raises KeyRingError."""
        current = _read(self._path)
        if kek_id not in current.keys:
            raise KeyRingError(f"{kek_id} is not in the ring; it holds {', '.join(current.keys)}")
        if kek_id == current.active:
            raise KeyRingError(f"{kek_id} is the active key; run `luxe keys rotate` first")
        remaining = {name: key for name, key in current.keys.items() if name != kek_id}
        changed = _Contents(current.active, remaining, current.address_secret)
        _replace(self._path, changed)
        self._use(changed)

    def _refresh(self) -> None:
        """Follow a rotation by another process: every change of the ring is a new file."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return  # being restored, perhaps; what is in memory still works
        seen = (status.st_ino, status.st_mtime_ns)
        if seen != self._seen:
            self._use(_read(self._path))
            self._seen = seen

    def _use(self, contents: _Contents) -> None:
        self._contents = contents
        self._derived.clear()
        derivation = HKDF(SHA256(), KEY_BYTES, salt=None, info=b"luxe-address")
        self._address_key = derivation.derive(contents.address_secret)


def ensure_key_ring(settings: Settings) -> KeyRing:
    """The installation's ring, made with fresh keys the first time. Safe when several processes start at once."""
    path = settings.kek_path
    if not path.exists():
        fresh = _Contents("k1", {"k1": urandom(KEY_BYTES)}, urandom(KEY_BYTES))
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = _write_draft(path, fresh)
        try:
            os.link(draft, path)  # unlike a rename, fails where another process was first
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        _sync_directory(path.parent)
    return KeyRing.load(path)


def kek_id_of(wrapped: bytes) -> str:
    """Id of the key-encryption key of a wrapped data key. Raises SealError: truncated, unknown_version."""
    if len(wrapped) < 2 or len(wrapped) != 2 + wrapped[1] + _WRAPPED_TAIL_BYTES:
        raise SealError("truncated", f"a wrapped key of {len(wrapped)} bytes is cut or too long")
    if wrapped[0] != WRAP_VERSION:
        raise SealError("unknown_version", f"wrapped by version {wrapped[0]} of the form, not {WRAP_VERSION}")
    return wrapped[2 : 2 + wrapped[1]].decode("ascii", "replace")


def _normalised(channel: str, address: str) -> str:
    if channel == "sms":
        number = _PHONE_PUNCTUATION.sub("", address)
        if not _E164.fullmatch(number):
            raise ValueError(
                f"a phone number of {len(address)} characters is not E.164; write it as +<country><number>"
            )
        return number
    if channel == "email":
        return unicodedata.normalize("NFC", address.strip()).lower()
    return address.strip()


def _read(path: Path) -> _Contents:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise KeyRingError(f"{path}: mode {mode:04o} lets others read the keys; run `chmod 600 {path}`")
            data = file.read()
    except FileNotFoundError:
        raise KeyRingError(
            f"{path}: no key ring there; restore it from its backup, or let `luxe up` make the first one"
        ) from None
    except OSError as error:
        raise KeyRingError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        found = json.loads(data)
        keys = {name: base64.b64decode(key, validate=True) for name, key in found["keys"].items()}
        contents = _Contents(found["active"], keys, base64.b64decode(found["address_secret"], validate=True))
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise KeyRingError(f"{path}: not a key ring ({type(error).__name__}); restore it from its backup") from None
    if contents.active not in keys or not all(_KEK_ID.fullmatch(name) for name in keys):
        raise KeyRingError(f"{path}: its active key is missing or a key is misnamed; restore it from its backup")
    if any(len(key) != KEY_BYTES for key in (*keys.values(), contents.address_secret)):
        raise KeyRingError(f"{path}: every key must have {KEY_BYTES} bytes; restore it from its backup")
    return contents


def _write_draft(path: Path, contents: _Contents) -> Path:
    """The contents, durable, in a new file of mode 0600 next to ``path``."""
    encoded = {
        "active": contents.active,
        "keys": {name: base64.b64encode(key).decode() for name, key in contents.keys.items()},
        "address_secret": base64.b64encode(contents.address_secret).decode(),
    }
    draft = path.with_name(f".{path.name}.{os.getpid()}.{urandom(4).hex()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(encoded, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    return draft


def _replace(path: Path, contents: _Contents) -> None:
    """Write the ring anew; a crash leaves the old file or the new one, whole."""
    _write_draft(path, contents).replace(path)
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
