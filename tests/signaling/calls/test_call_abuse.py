"""Descriptions and candidates that attack: over the real hub each is refused, nothing is relayed, quoted or logged."""

from typing import Any

import pytest

from clients.hub_client import HubClient
from protocol.contract.base import Failure
from protocol.contract.calls import CallChanged, Signal
from protocol.contract.sessions import Done
from tests.eventually import eventually
from tests.media.test_sdp import FP, GOOD
from tests.signaling.calls.test_calls_hub import in_call, say
from tests.signaling.care import Connect
from tests.signaling.conftest import House
from tests.signaling.visit import refused
from tests.signaling.visiting import Scene, live

CANARY = "c4n4ry"
SDP = {
    "an injected line": GOOD.replace("s=-", f"s=-\r\n{CANARY}: x"),
    "an injected header": GOOD + f"\r\n\r\nGET /{CANARY} HTTP/1.1\r\n",
    "a lone carriage return": GOOD.replace("s=-", f"s=-\r{CANARY}"),
    "two fingerprints": GOOD + f"a=fingerprint:sha-256 {':'.join(['CD'] * 32)}\r\n",
    "no encryption": GOOD.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"),
    "too long": GOOD + f"a=ssrc:1 cname:{CANARY}\r\n" * 800,
    "a long line": GOOD + f"a=fmtp:111 {CANARY * 100}\r\n",
}
CANDIDATES = {
    "metadata": "169.254.169.254",
    "an mDNS name of 300 characters": "x" * 300 + ".local",
    "a name": f"{CANARY}.example",
    "an injected line": "198.35.26.96 5000 typ host\r\na=x:",
    "metadata in another family": "::ffff:169.254.169.254",
    "a multicast address": "224.0.0.1",
}


@pytest.fixture
async def scene(house: House, connect: Connect) -> Scene:
    return await live(house, connect)


def nothing_came(house: House, scene: Scene) -> None:
    assert scene.ann_told.of(Signal) == []
    for secret in (CANARY, FP, "169.254.169.254", "ice-pwd", "typ host"):
        assert secret not in house.log.getvalue()


async def test_descriptions_that_attack(house: House, scene: Scene) -> None:
    call_id = await in_call(scene)
    for what, sdp in SDP.items():
        for kind in ("offer", "answer", "restart"):
            # One that is longer than a signal may be is no argument at all.
            if len(sdp) > 16_384:
                await is_bad_argument(scene.pat, call_id, kind, sdp=sdp)
                continue
            refusal = refused(await say(scene.pat, call_id, 0, kind, sdp=sdp))
            assert refusal.code == "sdp_refused", what
            assert CANARY not in refusal.message
    nothing_came(house, scene)


async def test_candidates_that_attack(house: House, scene: Scene) -> None:
    call_id = await in_call(scene)
    for what, address in CANDIDATES.items():
        text = f"candidate:1 1 udp 1 {address} 5000 typ host"
        refusal = refused(await say(scene.pat, call_id, 0, "candidate", candidate=text))
        assert refusal.code == "candidate_refused", what
        assert CANARY not in refusal.message
    for field in ({"sdp_mid": "0\r\na=x"}, {"sdp_mid": "x" * 33}, {"sdp_m_line_index": 64}, {"candidate": "x" * 513}):
        await is_bad_argument(scene.pat, call_id, "candidate", **{"candidate": ""} | field)
    nothing_came(house, scene)


async def test_ten_thousand_candidates(house: House, scene: Scene) -> None:
    """Inside of a description they make it too long; one by one they are counted, and what is held is bounded."""
    call_id = await in_call(scene)
    lines = "".join(f"a=candidate:{n} 1 udp 1 198.35.26.96 {n + 1} typ host\r\n" for n in range(10_000))
    with pytest.raises(Exception, match=r"."):
        await say(scene.pat, call_id, 0, "offer", sdp=GOOD + lines)
    assert scene.ann_told.of(Signal) == []


async def test_candidates_one_by_one_are_counted_and_what_is_held_is_bounded(house: House, scene: Scene) -> None:
    call_id = await in_call(scene)
    codes: dict[str, int] = {}
    for number in range(10_000):
        text = f"candidate:1 1 udp {number} 198.35.26.96 5000 typ host"
        outcome = await say(scene.pat, call_id, 0, "candidate", candidate=text)
        code = outcome.error.code if isinstance(outcome, Failure) else "held"
        codes[code] = codes.get(code, 0) + 1
        house.wall.now_s += 0.06
        if number > 200:
            break
    assert codes == {"held": 64, "too_many_candidates": 202 - 64}
    assert isinstance(await say(scene.pat, call_id, 0, "offer", sdp=GOOD), Done)


async def test_a_description_of_a_megabyte_ends_nobody_elses_call(house: House, scene: Scene) -> None:
    call_id = await in_call(scene)
    with pytest.raises(Exception, match=r"."):
        await say(scene.pat, call_id, 0, "offer", sdp=GOOD + "a" * 1_000_000)
    nothing_came(house, scene)
    # Whoever has sent it has lost his connection, and nobody else has.
    await eventually(lambda: scene.ann_told.of(CallChanged)[-1].peers[1].state == "lost")
    assert refused(await say(scene.ann, call_id, 1, "offer", sdp=GOOD)).code == "no_such_peer"


async def is_bad_argument(who: HubClient, call_id: str, kind: str, **what: Any) -> None:
    with pytest.raises(Exception, match="bad_argument") as caught:
        await say(who, call_id, 0, kind, **what)
    assert CANARY not in str(caught.value)
