"""Who a token says is asking, and every way in which it proves nothing."""

from __future__ import annotations

import time
from datetime import datetime, tzinfo
from typing import Any, NamedTuple

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from api.identity import MAX_LIFETIME_SECONDS, Identity, Unidentified, Verifier, rs256_keys

SECRET = "s" * 64
PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwks(kid: str = "k1") -> dict[str, Any]:
    key = RSAAlgorithm.to_jwk(PRIVATE.public_key(), as_dict=True)
    return {"keys": [{**key, "kid": kid, "alg": "RS256", "use": "sig"}]}


def verifier(issuer: str | None = None) -> Verifier:
    return Verifier(secret=SECRET, keys=rs256_keys(jwks()), audience="luxe-api", issuer=issuer, skew_seconds=30)


class FromNow(NamedTuple):
    """A time so many seconds from when the token is made: tests run long after they are collected."""

    seconds: int


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    given = {"sub": "p1", "role": "patient", "aud": "luxe-api", "iat": now, "exp": now + 600} | changes
    told = {name: now + value.seconds if isinstance(value, FromNow) else value for name, value in given.items()}
    return {name: value for name, value in told.items() if value is not None}


def hs256(**changes: Any) -> str:
    return jwt.encode(claims(**changes), SECRET, "HS256")


def rs256(kid: str = "k1", **changes: Any) -> str:
    return jwt.encode(claims(**changes), PRIVATE, "RS256", headers={"kid": kid})


def test_a_token_of_either_kind_identifies() -> None:
    for token in (hs256(), rs256()):
        identity = verifier().identify(token)
        assert (identity.subject, identity.role, identity.clinics) == ("p1", "patient", frozenset())


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "another"},
        {"aud": None},
        {"exp": None},
        {"iat": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"role": None},
        {"role": "root"},
        {"role": ["admin"]},
        {"clinics": "c1"},
        {"clinics": [1]},
        {"role": "staff", "clinics": ["*"]},
        {"exp": FromNow(-31)},
        {"nbf": FromNow(300)},
        {"iat": FromNow(300)},
        {"exp": FromNow(MAX_LIFETIME_SECONDS + 60)},
    ],
)
def test_a_token_that_says_the_wrong_thing_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Unidentified):
        verifier().identify(hs256(**changes))


def test_clocks_may_differ_by_the_skew() -> None:
    assert verifier().identify(hs256(exp=int(time.time()) - 20)).subject == "p1"


def test_another_issuer_is_refused() -> None:
    assert verifier("https://idp").identify(hs256(iss="https://idp")).subject == "p1"
    for issuer in ("https://other", None):
        with pytest.raises(Unidentified):
            verifier("https://idp").identify(hs256(iss=issuer))


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "a.b.c",
        jwt.encode(claims(), "", "none"),
        jwt.encode(claims(), "t" * 64, "HS256"),
        jwt.encode(claims(), SECRET, "HS512"),
        rs256(kid="k2"),
        hs256() + "x" * 9000,
    ],
)
def test_a_token_that_is_not_signed_as_agreed_is_refused(token: str) -> None:
    with pytest.raises(Unidentified):
        verifier().identify(token)


def test_the_public_key_does_not_sign_as_a_secret() -> None:
    """The old confusion: an HS256 token made with what everybody may read."""
    with pytest.raises(Unidentified):
        verifier().identify(jwt.encode(claims(), str(jwks()["keys"][0]["n"]), "HS256", headers={"kid": "k1"}))


def test_refusals_quote_nothing() -> None:
    with pytest.raises(Unidentified) as caught:
        verifier().identify(hs256(role="Mallory"))
    assert "Mallory" not in str(caught.value)


@pytest.mark.parametrize("document", [{}, {"keys": []}, {"keys": [{"kty": "oct", "k": "AA", "kid": "a"}]}, {"keys": 1}])
def test_a_jwks_without_rsa_keys_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"JWKS|RSA"):
        rs256_keys(document)


def test_whom_one_may_see() -> None:
    patient = Identity("p1", "patient", frozenset({"c1"}))
    assert patient.may_see("patient:p1", "c1")
    assert not patient.may_see("patient:p2", "c1")
    assert not patient.may_see("staff:p1", "c1")
    staff = Identity("s1", "staff", frozenset({"c1"}))
    assert staff.may_see("patient:p1", "c1")
    assert not staff.may_see("patient:p1", "c2")
    assert staff.may_see("staff:s1", "c2")
    assert Identity("x", "service", frozenset({"*"})).may_see("patient:p1", "c9")
    assert not Identity("x", "service", frozenset()).may_see("staff:x", "c9")
    assert "p1" not in repr(patient)


def test_a_token_seen_before_is_taken_only_until_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = verifier()
    token = hs256(exp=FromNow(60))
    assert checks.identify(token) is checks.identify(token)  # the second time it is only looked up
    later = time.time() + 60 + 31  # seconds, past the skew of 30
    monkeypatch.setattr(time, "time", lambda: later)
    monkeypatch.setattr("jwt.api_jwt.datetime", _at(later))
    with pytest.raises(Unidentified, match="expired"):
        checks.identify(token)


def _at(seconds: float) -> type[datetime]:
    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Later:
            return cls.fromtimestamp(seconds, tz)

    return Later


def test_a_token_seen_before_goes_with_its_key() -> None:
    checks, token = verifier(), rs256()
    checks.identify(token)
    checks.replace_keys(rs256_keys(jwks("another")))
    with pytest.raises(Unidentified):
        checks.identify(token)


def test_a_refused_token_is_not_remembered_as_genuine() -> None:
    checks, token = verifier(), hs256(aud="another")
    for _ in range(2):
        with pytest.raises(Unidentified):
            checks.identify(token)


def test_tokens_are_remembered_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.identity.MAX_KNOWN_TOKENS", 2)
    checks = verifier()
    tokens = [hs256(sub=f"p{number}") for number in range(3)]
    known = [checks.identify(token) for token in tokens]
    assert checks.identify(tokens[2]) is known[2]
    assert checks.identify(tokens[0]) is not known[0]  # the one unseen for longest was forgotten, and checked again
