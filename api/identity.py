"""Who is asking: a JWT, HS256 by a shared secret or RS256 by the identity provider's keys, and what its claims mean.

Claims: ``sub`` (a patient's or a user's id), ``role`` (one of ROLES), ``clinics`` (ids of the clinics somebody works for;
``["*"]`` for admin and service: every clinic), ``aud``, ``iat``, ``exp``; optional ``nbf``, ``iss``.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import jwt
from jwt import PyJWK, PyJWKSet
from jwt.exceptions import InvalidKeyError, InvalidTokenError, PyJWKError, PyJWKSetError

from connectors.settings import Settings

Role = Literal["patient", "staff", "provider", "inventory_manager", "marketing", "admin", "service"]
ROLES: Mapping[str, Role] = {role: role for role in get_args(Role)}
EVERY_CLINIC = "*"
# Whoever holds more than one clinic's data is told apart from those who work in one.
_MAY_HOLD_EVERY_CLINIC = frozenset({"admin", "service"})

# Longer than any token of ours; a longer one is not worth parsing.
MAX_TOKEN_CHARACTERS = 8_192
MAX_SUBJECT_CHARACTERS = 200
MAX_CLINICS = 500
# A token that would be good for longer than a working day is a password.
MAX_LIFETIME_SECONDS = 24 * 3600
# Tokens remembered as genuine, about 600 B each; checking one costs 0.1 ms (HS256), looking it up 2 µs.
MAX_KNOWN_TOKENS = 20_000


class Unidentified(Exception):
    """A token that proves nothing. Says why in one of our own sentences, never what is in it."""


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """Who is asking. Prints its role only. ``until``: their token is taken no longer; seconds since the epoch."""

    subject: str
    role: Role
    clinics: frozenset[str]
    until: float = field(default=math.inf, compare=False)

    def __repr__(self) -> str:
        return f"Identity({self.role})"

    @property
    def actor(self) -> str:
        """Who did it, for histories."""
        return f"{self.role}:{self.subject}"

    def is_self(self, recipient: str) -> bool:
        """Whether ``recipient`` (a recipient key) is the caller."""
        kind = "patient" if self.role == "patient" else "staff"
        return self.role != "service" and recipient == f"{kind}:{self.subject}"

    def works_for(self, clinic_id: str) -> bool:
        """Whether the caller works for this clinic."""
        return self.role != "patient" and (clinic_id in self.clinics or EVERY_CLINIC in self.clinics)

    def may_see(self, recipient: str, clinic_id: str) -> bool:
        """A patient only themselves, anybody else who their clinic's are."""
        return self.is_self(recipient) or self.works_for(clinic_id)


class Verifier:
    """Checks tokens. ``keys``: the identity provider's RS256 keys by their id.

    A token that was genuine is so until it expires, or keys are replaced: it is remembered, by its SHA-256 only.
    """

    def __init__(self, *, secret: str, keys: Mapping[str, PyJWK], audience: str, issuer: str | None, skew_seconds: int):
        self._secret = secret
        self._keys = dict(keys)
        self._audience = audience
        self._issuer = issuer
        self._skew_seconds = skew_seconds
        self._jwt = jwt.PyJWT()
        # Digest → identity, and until when (seconds since the epoch) the token is taken.
        self._known: OrderedDict[bytes, tuple[Identity, float]] = OrderedDict()

    @classmethod
    def of(cls, settings: Settings, secret: str) -> Verifier:
        """As the settings say; without the identity provider's keys, which are read later."""
        return cls(
            secret=secret,
            keys={},
            audience=settings.api_jwt_audience,
            issuer=settings.api_jwt_issuer,
            skew_seconds=settings.api_jwt_skew_seconds,
        )

    def replace_keys(self, keys: Mapping[str, PyJWK]) -> None:
        """From now on these are the identity provider's."""
        self._keys = dict(keys)
        self._known.clear()

    def identify(self, token: str) -> Identity:
        """The token's identity. Raises Unidentified."""
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise Unidentified(f"a token has at most {MAX_TOKEN_CHARACTERS} characters")
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        identity, until = self._known.get(digest, (None, 0.0))
        if identity is not None and time.time() < until:
            self._known.move_to_end(digest)
            return identity
        claims = self._verified(token)
        until = int(claims["exp"]) + self._skew_seconds
        identity = _identity(claims, until)
        self._known[digest] = identity, until
        if len(self._known) > MAX_KNOWN_TOKENS:
            self._known.popitem(last=False)
        return identity

    def _verified(self, token: str) -> Mapping[str, Any]:
        """The claims of a token that is genuine, for us, and in its time. Raises Unidentified."""
        try:
            header = jwt.get_unverified_header(token)
            algorithm, key = self._key_for(header)
            return self._jwt.decode(
                token,
                key,
                # Never the token's own wish: each key is used by its one algorithm.
                algorithms=[algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._skew_seconds,
                options={"require": ["exp", "iat", "sub", "aud"], "verify_iat": True},
            )
        except jwt.ExpiredSignatureError:
            raise Unidentified("the token has expired; get a new one") from None
        except (InvalidTokenError, InvalidKeyError, ValueError, TypeError):
            raise Unidentified(
                "the token is none of ours: its signature, audience, issuer or times are wrong"
            ) from None

    def _key_for(self, header: Mapping[str, Any]) -> tuple[str, Any]:
        if header.get("alg") == "HS256":
            return "HS256", self._secret
        key = self._keys.get(str(header.get("kid")))
        if header.get("alg") != "RS256" or key is None:
            raise InvalidTokenError
        return "RS256", key


def rs256_keys(document: Mapping[str, Any]) -> dict[str, PyJWK]:
    """The RS256 keys of a JWKS by their id. Raises ValueError where it holds none."""
    try:
        found = PyJWKSet.from_dict(dict(document)).keys
    except (PyJWKSetError, PyJWKError, InvalidKeyError, AttributeError, TypeError) as error:
        raise ValueError("no JWKS with a usable key") from error
    keys = {key.key_id: key for key in found if key.key_id and key.key_type == "RSA" and key.algorithm_name == "RS256"}
    if not keys:
        raise ValueError("no RSA key with a `kid` for RS256")
    return keys


def _identity(claims: Mapping[str, Any], until: float) -> Identity:
    subject, clinics = claims["sub"], claims.get("clinics", [])
    role = ROLES.get(str(claims.get("role")))
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_CHARACTERS:
        raise Unidentified(f"claim sub: send an id of 1 to {MAX_SUBJECT_CHARACTERS} characters")
    if role is None:
        raise Unidentified(f"claim role: send one of {', '.join(sorted(ROLES))}")
    if (
        not isinstance(clinics, list)
        or len(clinics) > MAX_CLINICS
        or not all(isinstance(c, str) and c for c in clinics)
    ):
        raise Unidentified(f"claim clinics: send a list of at most {MAX_CLINICS} clinic ids")
    if EVERY_CLINIC in clinics and role not in _MAY_HOLD_EVERY_CLINIC:
        raise Unidentified("claim clinics: only admin and service may hold every clinic")
    if float(claims["exp"]) - float(claims["iat"]) > MAX_LIFETIME_SECONDS:
        raise Unidentified(f"claim exp: a token may live {MAX_LIFETIME_SECONDS // 3600} hours at most")
    return Identity(subject, role, frozenset(clinics), until)
