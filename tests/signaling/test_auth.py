"""Tokens: what a good one says, and that every bad one gets the same answer."""

import base64
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


BAD = {
    "empty": "",
    "garbage": "a.b.c",
    "no algorithm": unsigned("none"),
    "no algorithm, odd case": unsigned("nOnE"),
    "another key": signed(GOOD, b"x" * 32),
    "another algorithm": signed(GOOD, b"k" * 64, algorithm="HS512"),
    "unknown critical header": signed(GOOD, headers={"crit": ["x"], "x": 1}),
    "just expired": signed(GOOD | {"exp": int(NOW_S)}),
    "expiry as text": signed(GOOD | {"exp": str(int(NOW_S) + 60)}),
    "expiry as fraction": signed(GOOD | {"exp": NOW_S + 60.5}),
    "expiry beyond all time": signed(GOOD | {"exp": 1e308}),
    "no expiry": signed({key: value for key, value in GOOD.items() if key != "exp"}),
    "another issuer": signed(GOOD | {"iss": "auricle-dev/"}),
    "another audience": signed(GOOD | {"aud": "other"}),
    "no clinic": signed({key: value for key, value in GOOD.items() if key != "clinic"}),
    "empty user": signed(GOOD | {"sub": ""}),
    "no roles": signed(GOOD | {"roles": []}),
    "unknown role": signed(GOOD | {"roles": ["root"]}),
    "roles of another type": signed(GOOD | {"roles": 5}),
    "roles in roles": signed(GOOD | {"roles": [["clinician"]]}),
    "not yet valid": signed(GOOD | {"nbf": 99_999_999_999}),
    "huge": "a" * 100_000,
}


@pytest.mark.parametrize("token", BAD.values(), ids=BAD.keys())
def test_every_bad_token_gets_the_same_answer(tokens: DevTokens, token: str) -> None:
    with pytest.raises(Unauthenticated) as refused:
        tokens.verify(token)
    assert refused.value.public_message == "a valid token is required"


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
