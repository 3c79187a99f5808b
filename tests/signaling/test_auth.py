"""Tokens: what a good one says, and that every bad one gets the same answer."""

import base64
import hmac
import json
import stat
from pathlib import Path
from typing import Any

import jwt
import pytest

from protocol.errors import Unauthenticated
from signaling.auth import DevTokens, dev_signing_key, find_signing_key
from signaling.config import ConfigError

KEY = b"k" * 32
NOW_S = 1_800_000_000.0
GOOD: dict[str, Any] = {
    "iss": "auricle-dev",
    "aud": "auricle",
    "sub": "ann",
    "clinic": "c1",
    "roles": ["clinician"],
    "exp": int(NOW_S) + 60,
}


@pytest.fixture
def tokens() -> DevTokens:
    return DevTokens(KEY, lambda: NOW_S)


def signed(claims: dict[str, Any], key: bytes = KEY, **options: Any) -> str:
    return jwt.encode(claims, key, **{"algorithm": "HS256"} | options)


def test_a_minted_token_says_who_and_until_when(tokens: DevTokens) -> None:
    token = tokens.mint(user="ann", clinic="c1", roles=frozenset({"patient", "device"}), expires_in_s=60)
    principal = tokens.verify(token)
    assert (principal.user, principal.clinic) == ("ann", "c1")
    assert principal.roles == frozenset({"patient", "device"})
    assert principal.expires_at_s == NOW_S + 60


def unsigned(algorithm: str) -> str:
    parts = [{"alg": algorithm, "typ": "JWT"}, GOOD]
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + "."


def other(change: str, **parts: Any) -> str:
    """A good token of which a part was exchanged behind the signature."""
    head, body, signature = signed(GOOD).split(".")
    mended = {"head": head, "body": body, "signature": signature} | parts
    return ".".join([mended["head"], mended["body"], mended["signature"]]) + change


def encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


ZEROS = base64.urlsafe_b64encode(bytes(64)).rstrip(b"=").decode()
PUBLIC_KEY = b"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n"


def hs256(key: bytes, head: dict[str, Any], claims: object = GOOD) -> str:
    """Signed by hand: the library refuses some of these keys."""
    text = f"{encoded(head)}.{encoded(claims)}"
    return f"{text}.{base64.urlsafe_b64encode(hmac.digest(key, text.encode(), 'sha256')).rstrip(b'=').decode()}"


BAD = {
    "empty": "",
    "garbage": "a.b.c",
    "one part": "abc",
    "four parts": signed(GOOD) + ".x",
    "a nested JWE": "e30.e30.e30.e30.e30",
    "no algorithm": unsigned("none"),
    "no algorithm, odd case": unsigned("nOnE"),
    "no algorithm, and our signature": other("", head=encoded({"alg": "none", "typ": "JWT"})),
    "another key": signed(GOOD, b"x" * 32),
    "an empty key": hs256(b"", {"alg": "HS256", "typ": "JWT"}),
    "another algorithm": signed(GOOD, b"k" * 64, algorithm="HS512"),
    "a public key as the secret": hs256(PUBLIC_KEY, {"alg": "HS256", "typ": "JWT"}),
    "an algorithm that is none of text": hs256(KEY, {"alg": ["HS256"], "typ": "JWT"}),
    "our key under another name": hs256(KEY, {"alg": "RS256", "typ": "JWT"}),
    "no name of an algorithm": hs256(KEY, {"typ": "JWT"}),
    "ES256 with r = s = 0": other("", head=encoded({"alg": "ES256", "typ": "JWT"}), signature=ZEROS),
    "another body": other("", body=encoded(GOOD | {"sub": "bob"})),
    "a signature cut short": signed(GOOD)[:-4],
    "something behind the signature": other("AAAA"),
    "another type": signed(GOOD, headers={"typ": "at+jwt"}),
    "unknown critical header": signed(GOOD, headers={"crit": ["x"], "x": 1}),
    "an unencoded payload": signed(GOOD, headers={"crit": ["b64"], "b64": False}),
    "an unencoded payload, not critical": signed(GOOD, headers={"b64": False}),
    **{
        f"a header {name}": signed(GOOD, headers={name: value})
        for name, value in {
            "kid": "k1",
            "jku": "https://evil.example/keys",
            "x5u": "https://evil.example/cert",
            "x5c": ["MIIB"],
            "jwk": {"kty": "oct", "k": "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2s"},
            "zip": "DEF",
            "cty": "JWT",
        }.items()
    },
    "a kid that is a path": signed(GOOD, headers={"kid": "../../etc/passwd"}),
    "a kid that is a query": signed(GOOD, headers={"kid": "' OR '1'='1"}),
    "a kid of 1 MiB": signed(GOOD, headers={"kid": "k" * 2**20}),
    "just expired": signed(GOOD | {"exp": int(NOW_S)}),
    "expired 61 s": signed(GOOD | {"exp": int(NOW_S) - 61}),
    "expiry as text": signed(GOOD | {"exp": str(int(NOW_S) + 60)}),
    "expiry as fraction": signed(GOOD | {"exp": NOW_S + 60.5}),
    "expiry beyond all time": signed(GOOD | {"exp": 1e308}),
    "expiry before all time": signed(GOOD | {"exp": -1}),
    "expiry that is true": signed(GOOD | {"exp": True}),
    "no expiry": signed({key: value for key, value in GOOD.items() if key != "exp"}),
    "not yet valid": signed(GOOD | {"nbf": int(NOW_S) + 1}),
    "validity as text": signed(GOOD | {"nbf": "0"}),
    "another issuer": signed(GOOD | {"iss": "auricle-dev/"}),
    "two issuers": hs256(KEY, {"alg": "HS256"}, GOOD | {"iss": ["auricle-dev"]}),
    "no issuer": signed({key: value for key, value in GOOD.items() if key != "iss"}),
    "another audience": signed(GOOD | {"aud": "other"}),
    "our audience and another": signed(GOOD | {"aud": ["auricle", "other"]}),
    "an ID token": signed(GOOD | {"aud": "fitting-software", "nonce": "n", "azp": "fitting-software"}),
    "no audience": signed({key: value for key, value in GOOD.items() if key != "aud"}),
    "no clinic": signed({key: value for key, value in GOOD.items() if key != "clinic"}),
    "two clinics": signed(GOOD | {"clinic": ["c1", "c2"]}),
    "empty user": signed(GOOD | {"sub": ""}),
    "no roles": signed(GOOD | {"roles": []}),
    "unknown role": signed(GOOD | {"roles": ["root"]}),
    "roles of another type": signed(GOOD | {"roles": 5}),
    "roles in roles": signed(GOOD | {"roles": [["clinician"]]}),
    "claims that are no object": hs256(KEY, {"alg": "HS256"}, [1]),
    "huge": "a" * 100_000,
}


@pytest.mark.parametrize("token", BAD.values(), ids=BAD.keys())
def test_every_bad_token_gets_the_same_answer(tokens: DevTokens, token: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        tokens.verify(token)
    assert refused.value.public_message == "a valid token is required"


def test_a_token_made_by_hand_is_as_good_as_ours(tokens: DevTokens) -> None:
    """So that the ones above are refused for what their names say."""
    for good in (hs256(KEY, {"alg": "HS256", "typ": "JWT"}), hs256(KEY, {"alg": "HS256"}), other("")):
        assert tokens.verify(good).user == "ann"
    assert tokens.verify(signed(GOOD | {"nbf": int(NOW_S), "iat": int(NOW_S), "jti": "1"})).user == "ann"


def test_the_key_is_made_once_kept_private_and_found_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert find_signing_key("", data) is None
    key = dev_signing_key("", data)
    assert len(key) >= 32
    assert dev_signing_key("", data) == find_signing_key("", data) == key
    assert stat.S_IMODE((data / "dev-signing-key").stat().st_mode) == 0o600
    assert find_signing_key("c" * 32, data) == b"c" * 32


def test_a_short_or_unreadable_key_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "dev-signing-key").write_text("short")
    with pytest.raises(ConfigError, match="at least 32 bytes"):
        find_signing_key("", tmp_path)
    (tmp_path / "dev-signing-key").unlink()
    (tmp_path / "dev-signing-key").mkdir()
    with pytest.raises(ConfigError, match="cannot read"):
        find_signing_key("", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot (read|keep)"):
        dev_signing_key("", tmp_path / "file" / "data")
