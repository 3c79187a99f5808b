"""Who hears and sees whom in a relayed call, without a network."""

from typing import Any

import pytest

from media.candidate import Malformed
from media.relay import Room, World
from media.relay_sdp import answered, check_offer, identity
from media.relay_sound import Sound
from tests.media.test_relay_sound import block


def nothing() -> None:
    """More of it than is kept is no matter here."""


class Someone:
    """As much of a participant as a room looks at."""

    def __init__(self, picture: str | None = None) -> None:
        self.sound = Sound(0.2, nothing)
        self.picture = picture


def room_of(**people: Someone) -> Room:
    async def never(_: Any) -> None:
        raise AssertionError

    world = World(now_s=lambda: 0.0, sleep=never, spawn=never, late=nothing, bind=never)  # type: ignore[arg-type]  # never asked
    room = Room(world)
    room.legs.update({int(name[1:]): one for name, one in people.items()})  # type: ignore[misc]  # see Someone
    return room


def seen(room: Room, *numbers: int) -> list[object]:
    """What each of these people sees."""
    return [room.seen_by(number) for number in numbers]


def test_each_hears_all_others_and_nobody_hears_himself() -> None:
    people = {name: Someone() for name in ("p0", "p1", "p2")}
    room = room_of(**people)
    for value, one in enumerate(people.values(), 1):
        one.sound.add(block(value) * 2)
    heard: list[tuple[int, list[int]]] = []
    room.on_blocks = lambda n, blocks: heard.append((n, sorted(blocks)))
    assert [room.heard_by(number, 1) for number in range(3)] == [block(5), block(4), block(3)]
    # Once for all, whoever asks.
    assert heard == [(1, [0, 1, 2])]
    assert room.heard_by(0, 2) == block(5)
    assert room.heard_by(0, 3) == block(0)


def test_the_picture_of_whoever_spoke_last_is_seen() -> None:
    people = {"p0": Someone("ann"), "p1": Someone("pat"), "p2": Someone("ian"), "p3": Someone()}
    room = room_of(**people)
    assert seen(room, 0) == ["pat"]
    n = 0

    def speaks(number: int, blocks: int) -> None:
        nonlocal n
        room.legs[number].sound.add(block(20_000) * (blocks + 2))
        for _ in range(blocks):
            n += 1
            room.heard_by(0, n)
        room.legs[number].sound = Sound(0.2, nothing)

    speaks(2, 2)
    assert seen(room, 0, 1, 2) == ["ian", "ian", "ann"]
    # He is interrupted, and goes on being seen until he was quiet for a while.
    speaks(1, 2)
    assert seen(room, 0) == ["ian"]
    n += 60
    speaks(1, 2)
    assert seen(room, 0, 1) == ["pat", "ian"]
    n += 60
    # Who has no picture is heard alone.
    speaks(3, 2)
    assert seen(room, 0) == ["pat"]


OFFER = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\n"
VIDEO = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\n"


def test_one_sound_and_one_picture_are_taken() -> None:
    for good in (OFFER, OFFER + VIDEO, VIDEO):
        check_offer(good)
    for bad in ("v=0\r\n", OFFER + OFFER, OFFER + VIDEO + VIDEO, OFFER + "m=application 9 UDP/DTLS/SCTP x\r\n"):
        with pytest.raises(Malformed):
            check_offer(bad)


def test_an_offer_of_the_same_connection_is_known_by_its_credentials() -> None:
    assert identity(OFFER) == identity(OFFER + VIDEO) != identity(OFFER.replace("ufrag:u", "ufrag:w"))


def test_an_answer_says_where_and_how_much() -> None:
    line = "a=candidate:1 1 udp 2130706431 10.0.0.5 40001 typ host\r\n"
    relayed = "a=candidate:2 1 udp 16777215 198.35.26.96 3478 typ relay raddr 0.0.0.0 rport 9\r\n"
    told = answered(OFFER + line + relayed + VIDEO, address="203.0.113.9", max_bps=1_128_000)
    assert "udp 2130706431 203.0.113.9 40001 typ host" in told
    assert relayed in told
    assert [one for one in told.splitlines() if one.startswith("b=")] == [
        "b=AS:128",
        "b=TIAS:128000",
        "b=AS:1000",
        "b=TIAS:1000000",
    ]
    assert line in answered(OFFER + line, address="", max_bps=1)
