"""Tokens for load tests are those of ``auricle token``, and the key is found where the server keeps it."""

from pathlib import Path

import pytest

from loadtest.dev_tokens import KeyMissing, find_key, mint
from protocol.errors import Unauthenticated
from signaling.auth import DevTokens, dev_signing_key

KEY = b"k" * 48
NOW_S = 1_000_000.0


def verifier(key: bytes = KEY, now_s: float = NOW_S) -> DevTokens:
    return DevTokens(key, lambda: now_s)


def test_the_server_takes_what_is_minted_here() -> None:
    token = mint(KEY, user="ann", clinic="c1", roles=("patient", "device"), now_s=NOW_S, expires_in_s=60)
    principal = verifier().verify(token)
    assert (principal.user, principal.clinic) == ("ann", "c1")
    assert principal.roles == {"patient", "device"}
    assert principal.expires_at_s == NOW_S + 60


def test_it_is_the_very_token_that_the_server_would_mint() -> None:
    claims = {"user": "ann", "clinic": "c1", "expires_in_s": 60.0}
    ours = mint(KEY, roles=("clinician",), now_s=NOW_S, **claims)  # type: ignore[arg-type]  # one dict for both
    theirs = verifier().mint(roles=frozenset({"clinician"}), **claims)  # type: ignore[arg-type]  # one dict for both
    assert ours.split(".")[1:] == theirs.split(".")[1:]


@pytest.mark.parametrize(("key", "now_s"), [(b"x" * 48, NOW_S), (KEY, NOW_S + 61)], ids=["another key", "too late"])
def test_the_server_refuses_another_key_and_an_expired_token(key: bytes, now_s: float) -> None:
    token = mint(KEY, user="ann", clinic="c1", roles=("clinician",), now_s=NOW_S, expires_in_s=60)
    with pytest.raises(Unauthenticated):
        verifier(key, now_s).verify(token)


def test_the_key_is_found_in_the_named_file_first_then_in_the_environment_then_in_the_data_folder(
    tmp_path: Path,
) -> None:
    kept = dev_signing_key("", tmp_path)
    data = {"AURICLE_DATA": str(tmp_path)}
    both = {**data, "AURICLE_DEV_SIGNING_KEY": "e" * 40}
    named = tmp_path / "named"
    named.write_bytes(b"n" * 40 + b"\n")
    assert find_key(data) == kept
    assert find_key(both) == b"e" * 40
    assert find_key(both, named) == b"n" * 40


def test_a_missing_or_empty_key_is_told_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(KeyMissing, match="dev-signing-key: No such file"):
        find_key({"AURICLE_DATA": str(tmp_path)})
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(KeyMissing, match="empty holds no signing key"):
        find_key({}, empty)
