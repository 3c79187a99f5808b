"""Bind codes: what they are made of, what is kept of them, and that one finds its own alone."""

from collections import Counter

import pytest

from signaling.bind_codes import ALPHABET, CODE_CHARS, hash_of, matching, new_code, typed
from signaling.stores.bindings import BindCode

LIVE = [BindCode(hash_of(b"k", "c1", code), "c1", "d1", "pat", "ann", 0.0, 1.0) for code in ("AAAAAAAA", "CCCCCCCC")]


def test_no_character_is_taken_for_another() -> None:
    assert not set(ALPHABET) & set("0O1IL2Z5S8BUV")
    assert len(ALPHABET) == len(set(ALPHABET))
    assert len(ALPHABET) ** CODE_CHARS > 2**36


def test_each_character_is_as_likely_as_any_other() -> None:
    fair = range(256 - 256 % len(ALPHABET))
    codes = Counter(new_code(bytes([byte]).__mul__) for byte in fair)
    assert codes == {character * CODE_CHARS: len(fair) // len(ALPHABET) for character in ALPHABET}


def test_bytes_that_would_make_some_likelier_are_left_out() -> None:
    draws = iter([bytes([255] * 8), bytes([0] * 3 + [254] * 5), bytes([1] * 8)])
    assert new_code(lambda _: next(draws)) == ALPHABET[0] * 3 + ALPHABET[1] * 5


@pytest.mark.parametrize("text", ["ACDEFGHJ", "acdefghj", " acde-fghj ", "ACDE FGHJ", "a c d e f g h j"])
def test_a_code_may_be_typed_as_people_type(text: str) -> None:
    assert typed(text) == "ACDEFGHJ"


@pytest.mark.parametrize("text", ["", "ACDEFGH", "ACDEFGHJK", "ACDEFGH0", "ACDEFGHÄ", "ACDEFGH\0", "٣" * 8])
def test_what_cannot_be_a_code_is_none(text: str) -> None:
    assert typed(text) is None


def test_what_is_kept_depends_on_key_clinic_and_code() -> None:
    kept = hash_of(b"k", "c1", "ACDEFGHJ")
    assert kept == hash_of(b"k", "c1", "ACDEFGHJ")
    assert len({kept, hash_of(b"l", "c1", "ACDEFGHJ"), hash_of(b"k", "c2", "ACDEFGHJ"), hash_of(b"k", "c1", "A")}) == 4
    assert b"ACDEFGHJ" not in kept


def test_a_code_finds_its_own_alone() -> None:
    assert matching(LIVE[0].code_hash, LIVE) is LIVE[0]
    assert matching(LIVE[1].code_hash, LIVE) is LIVE[1]
    assert matching(hash_of(b"k", "c1", "DDDDDDDD"), LIVE) is None
    assert matching(LIVE[0].code_hash, []) is None
