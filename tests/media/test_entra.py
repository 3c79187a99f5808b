"""What is believed of Entra's documents and tokens, and when its keys are asked for."""

import json
import math
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from media.entra import (
    MAX_TOKEN_CHARS,
    Expected,
    Flaw,
    KeyRing,
    KeyStep,
    flaw_of,
    key_id_of,
    read_discovery,
    read_keys,
)

KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
WEAK = rsa.generate_private_key(public_exponent=65_537, key_size=1_024)
EXPECTED = Expected(frozenset({"iss"}), frozenset({"aud"}), frozenset({"app"}))
CLAIMS: dict[str, Any] = {"iss": "iss", "aud": "aud", "appid": "app", "nbf": 1_000, "exp": 2_000}


def public(key: rsa.RSAPrivateKey = KEY, **changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    return {"kty": "RSA", "use": "sig", "kid": "k", "n": known["n"], "e": known["e"], **changes}


def keys_of(*given: Any) -> dict[str, jwt.PyJWK]:
    return read_keys(msgspec.json.encode({"keys": given}))


def signed(claims: dict[str, Any]) -> str:
    return jwt.encode(claims, KEY, algorithm="RS256", headers={"kid": "k"})


@pytest.mark.parametrize(
    ("changes", "now_s", "flaw"),
    [
        ({}, 1_500, None),
        ({}, 700, None),
        ({}, 699, Flaw.EARLY),
        ({}, 2_299, None),
        ({}, 2_300, Flaw.EXPIRED),
        ({"exp": True}, 1_500, Flaw.MALFORMED),
        ({"exp": 1e400}, 1_500, Flaw.MALFORMED),
        ({"appid": "app", "azp": "app"}, 1_500, None),
        ({"appid": ["app"]}, 1_500, Flaw.PUBLISHER),
        ({"iss": "iss/"}, 1_500, Flaw.ISSUER),
        ({"aud": "AUD"}, 1_500, Flaw.AUDIENCE),
    ],
)
def test_a_token_is_for_us_and_for_now(changes: dict[str, Any], now_s: float, flaw: Flaw | None) -> None:
    assert flaw_of(signed({**CLAIMS, **changes}), keys_of(public())["k"], EXPECTED, now_s) is flaw


def test_what_is_no_object_is_no_token() -> None:
    token = jwt.api_jws.encode(b"[1]", KEY, algorithm="RS256", headers={"kid": "k"})
    assert flaw_of(token, keys_of(public())["k"], EXPECTED, 1_500) is Flaw.MALFORMED


def test_of_a_header_only_a_name_is_taken() -> None:
    assert key_id_of(signed(CLAIMS)) == "k"
    assert key_id_of("") is Flaw.MALFORMED
    assert key_id_of("x" * (MAX_TOKEN_CHARS + 1)) is Flaw.MALFORMED
    elliptic = ec.generate_private_key(ec.SECP256R1())
    assert key_id_of(jwt.encode(CLAIMS, elliptic, algorithm="ES256", headers={"kid": "k"})) is Flaw.ALGORITHM
    assert key_id_of(jwt.encode(CLAIMS, KEY, algorithm="RS512", headers={"kid": "k"})) is Flaw.ALGORITHM
    assert key_id_of(jwt.encode(CLAIMS, KEY, algorithm="RS256")) is Flaw.MALFORMED
    assert key_id_of(jwt.encode(CLAIMS, KEY, algorithm="RS256", headers={"kid": "k" * 257})) is Flaw.MALFORMED


def test_keys_of_other_kinds_are_passed_over() -> None:
    others = [
        {},
        public(kid=7),
        public(kid=""),
        public(use="enc"),
        public(alg="RS512"),
        public(kty="EC"),
        public(n="!"),
        public(WEAK),
        {"kty": "oct", "kid": "k", "k": "c2VjcmV0"},
    ]
    assert list(keys_of(*others, public(kid="good"))) == ["good"]
    for one in others:
        with pytest.raises(ValueError, match="no key"):
            keys_of(one)
    assert len(keys_of(*(public(kid=f"k{n}") for n in range(100)))) == 64


@pytest.mark.parametrize("document", [b"", b"<html>", b"[]", b'{"keys": {}}', b'{"keys": [1]}', b"[" * 100_000])
def test_what_are_no_keys(document: bytes) -> None:
    with pytest.raises(ValueError, match="no JWKS"):
        read_keys(document)
    with pytest.raises(ValueError, match="no discovery"):
        read_discovery(document, frozenset({"iss"}))


def test_a_discovery_document_is_of_the_issuer() -> None:
    document = msgspec.json.encode({"issuer": "iss", "jwks_uri": "https://x/keys", "more": 1})
    assert read_discovery(document, frozenset({"iss"})) == "https://x/keys"
    with pytest.raises(ValueError, match="another issuer"):
        read_discovery(document, frozenset({"other"}))


NEVER, ROUND, HOUR, DAY = None, 60.0, 3_600.0, 86_400.0


@pytest.mark.parametrize(
    ("is_known", "read_ago_s", "tried_ago_s", "step"),
    [
        (False, NEVER, NEVER, KeyStep.FETCH),
        (False, NEVER, 59.0, KeyStep.AWAY),
        (False, NEVER, ROUND, KeyStep.FETCH),
        (True, 10.0, 10.0, KeyStep.USE),
        (True, 100.0, 10.0, KeyStep.USE),
        (True, HOUR - 1, HOUR - 1, KeyStep.USE),
        (True, HOUR, HOUR, KeyStep.FETCH),
        (True, HOUR, 10.0, KeyStep.USE),
        (True, DAY - 1, 10.0, KeyStep.USE),
        (True, DAY, 10.0, KeyStep.AWAY),
        (True, DAY, ROUND, KeyStep.FETCH),
        (False, 10.0, 10.0, KeyStep.UNKNOWN),
        (False, 100.0, 10.0, KeyStep.AWAY),
        (False, ROUND, ROUND, KeyStep.FETCH),
    ],
)
def test_when_keys_are_asked_for(
    is_known: bool, read_ago_s: float | None, tried_ago_s: float | None, step: KeyStep
) -> None:
    now_s = 1_000_000.0
    keys = keys_of(public())
    read_s, tried_s = (None if ago_s is None else now_s - ago_s for ago_s in (read_ago_s, tried_ago_s))
    ring = KeyRing(keys, read_s, tried_s)
    assert ring.next_step("k" if is_known else "other", now_s, again_s=ROUND, kept_s=DAY) is step


def test_asking_is_followed_by_an_answer() -> None:
    empty = KeyRing({})
    assert empty.missed(5.0).next_step("k", 5.0, again_s=ROUND, kept_s=DAY) is KeyStep.AWAY
    had = empty.had(keys_of(public()), 5.0)
    assert had.next_step("k", 5.0, again_s=ROUND, kept_s=DAY) is KeyStep.USE
    assert had.next_step("other", 5.0, again_s=ROUND, kept_s=math.inf) is KeyStep.UNKNOWN
