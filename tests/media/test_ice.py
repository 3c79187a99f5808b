"""The servers of a region, and credentials that coturn takes until they end."""

import base64
import hashlib
import hmac
import json

import pytest

from media.ice import IceMistake, no_servers, read_plan, turn_credential

PLAN = {
    "regions": {
        "eu": {"stun": ["stun:s.example:3478"], "turn": ["turn:t.example:3478?transport=udp", "turns:t.example:5349"]},
        "us": {"turn": ["turn:us.example"]},
        "lan": {},
    },
    "default": "eu",
    "clinics": {"c2": "us", "c3": "lan"},
}


def read(**changes: object) -> object:
    return read_plan(json.dumps({**PLAN, **changes}).encode(), secret=b"s", ttl_s=600)


def test_each_clinic_gets_the_servers_of_its_region() -> None:
    plan = read_plan(json.dumps(PLAN).encode(), secret=b"s", ttl_s=600)
    stun, turn = plan.servers_for("c1", "ann", 1_000.5)
    assert stun.urls == ("stun:s.example:3478",)
    assert turn.urls == tuple(PLAN["regions"]["eu"]["turn"])  # type: ignore[index]  # a test's own document
    assert str(turn.username).startswith("1500:")
    assert plan.servers_for("c1", "ann", 1_199)[1] == plan.servers_for("c1", "ann", 900)[1]
    assert plan.servers_for("c1", "ann", 1_200)[1] != turn
    assert plan.turn_urls() == (*turn.urls, "turn:us.example")
    (other,) = plan.servers_for("c2", "ann", 1_000)
    assert other.urls == ("turn:us.example",)
    assert plan.servers_for("c3", "ann", 1_000) == ()
    assert no_servers().servers_for("c1", "ann", 1_000) == ()


def test_a_credential_is_what_coturn_computes_and_names_nobody() -> None:
    name, password = turn_credential(b"secret", "c1", "ann", until_s=1_600)
    expected = base64.b64encode(hmac.new(b"secret", name.encode(), hashlib.sha1).digest()).decode()
    assert (password, "ann" in name) == (expected, False)
    assert turn_credential(b"secret", "c1", "ann", until_s=1_600) == (name, password)
    assert turn_credential(b"secret", "c2", "ann", until_s=1_600)[0] != name


@pytest.mark.parametrize(
    "changes",
    [
        {"default": "nowhere"},
        {"clinics": {"c1": "nowhere"}},
        {"unknown": 1},
        {"regions": {"eu": {"stun": ["http://x"]}}, "clinics": {}},
        {"regions": {"eu": {"stun": ["turn:x"]}}, "clinics": {}},
        {"regions": {"eu": {"turn": ["turn:x y"]}}, "clinics": {}},
        {"regions": {"eu": {"stun": ["stun:x"] * 9}}, "clinics": {}},
    ],
)
def test_a_plan_that_cannot_be_used_says_why(changes: dict[str, object]) -> None:
    with pytest.raises(IceMistake):
        read(**changes)
    with pytest.raises(IceMistake):
        read_plan(json.dumps(PLAN).encode(), secret=b"", ttl_s=600)
