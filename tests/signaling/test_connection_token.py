"""Connection tokens open one connection of one person to one hub, and cannot be made by anybody else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import NotFound
from signaling.connection_token import ConnectionTokens, new_connection_id

TOKENS = ConnectionTokens(key=b"k" * 32, pod="pod-1", ttl_s=15, clock=lambda: 100.0)


def test_a_token_says_whose_it_is_which_pod_made_it_and_until_when() -> None:
    token = TOKENS.issue(connection_id="id", hub="care", owner="c1\0ann")
    ticket = TOKENS.open(token, hub="care", owner="c1\0ann")
    assert (ticket.connection_id, ticket.pod, ticket.open_until_s) == ("id", "pod-1", 115.0)
    other_pod = ConnectionTokens(key=b"k" * 32, pod="pod-2", ttl_s=15, clock=lambda: 100.0)
    assert other_pod.open(token, hub="care", owner="c1\0ann").pod == "pod-1"


def test_another_hub_owner_or_key_opens_nothing() -> None:
    token = TOKENS.issue(connection_id="id", hub="care", owner="c1\0ann")
    stranger = ConnectionTokens(key=b"x" * 32, pod="pod-1", ttl_s=15, clock=lambda: 100.0)
    for tokens, hub, owner in (
        (TOKENS, "conformance", "c1\0ann"),
        (TOKENS, "care", "c1\0bob"),
        (TOKENS, "care", "c2\0ann"),
        (stranger, "care", "c1\0ann"),
    ):
        with pytest.raises(NotFound, match="No Connection with that ID"):
            tokens.open(token, hub=hub, owner=owner)


@given(st.text(max_size=200), st.integers(0, 10_000))
def test_altered_and_invented_tokens_open_nothing(text: str, place: int) -> None:
    good = TOKENS.issue(connection_id="id", hub="care", owner="o")
    at = place % len(good)
    for forged in (text, good[:at] + ("A" if good[at] != "A" else "B") + good[at + 1 :], good[:at], good + "A" * 2_000):
        with pytest.raises(NotFound):
            TOKENS.open(forged, hub="care", owner="o")


def test_connection_ids_are_128_random_bits() -> None:
    assert new_connection_id(lambda size: bytes(range(size))) == "AAECAwQFBgcICQoLDA0ODw"
