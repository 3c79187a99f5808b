"""Routing over two pods that share a bus: every send reaches exactly whom it should, once, in its own format."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from msgspec import Raw

from protocol.errors import LocalProtocolError, Overloaded, Unavailable
from protocol.signalr.codec import CODECS, Codec
from protocol.signalr.messages import Invocation
from protocol.socketio.codec import SocketIoCodec
from signaling.auth import Principal
from signaling.backplane import MemoryBackplane, MemoryBus
from signaling.lifetime import LifetimeManager
from signaling.outbound import Outbound


@dataclass
class RecordingLink:
    """A connection that remembers what it was given."""

    connection_id: str
    user: str = "ann"
    format: str = "json"
    frames: list[bytes] = field(default_factory=list)

    @property
    def principal(self) -> Principal:
        return Principal(self.user, "c1", frozenset({"clinician"}), 0.0)

    @property
    def codec(self) -> Codec:
        return CODECS[self.format]

    def send(self, outbound: Outbound) -> None:
        self.frames.append(outbound.frame(self.codec))

    def send_frame(self, frame: bytes) -> None:
        self.frames.append(frame)

    def hold_back(self) -> Callable[[], None]:
        return lambda: None

    async def ask(self, target: str, arguments: tuple[object, ...], source: Codec | None) -> Raw:
        raise Unavailable("this connection only listens")


def news(text: str) -> Outbound:
    return Outbound(Invocation(target="news", arguments=(text,)))


def frame(text: str, name: str = "json") -> bytes:
    return news(text).frame(CODECS[name])


@pytest.fixture
def bus() -> MemoryBus:
    return MemoryBus()


def pod(bus: MemoryBus, *, max_groups: int = 8) -> LifetimeManager:
    return LifetimeManager("care", MemoryBackplane(bus), max_groups=max_groups, reached=lambda _: None)


async def test_every_kind_of_send_reaches_both_pods_in_each_ones_format(bus: MemoryBus) -> None:
    here, there = pod(bus), pod(bus)
    ann, bob = RecordingLink("1"), RecordingLink("2", "bob", "messagepack")
    here.add(ann)
    there.add(bob)
    here.send(here.everybody, news("all"))
    here.send(here.user("c1", "bob"), news("user"))
    here.send(here.connection("2"), news("connection"))
    here.add_to_group("1", "g")
    there.add_to_group("2", "g")
    there.send(there.group("g"), news("group"))
    there.send(there.group("g"), news("others"), excluded=frozenset({"1"}))
    assert ann.frames == [frame("all"), frame("group")]
    assert bob.frames == [frame(text, "messagepack") for text in ("all", "user", "connection", "group", "others")]


VALUES: tuple[object, ...] = ({"deep": [[1, -2.5, None, "é"]], "n": 2**53}, "x" * 5_000, [True], {})


@pytest.mark.parametrize("name", ["json", "messagepack"])
async def test_what_is_passed_on_as_it_came_crosses_once_and_is_said_in_each_ones_format(
    bus: MemoryBus, name: str
) -> None:
    here, there = pod(bus), pod(bus)
    people = [RecordingLink("1"), RecordingLink("2", "bob", "messagepack"), RecordingLink("3", "cid", "messagepack")]
    for each in people:
        there.add(each)
    source = CODECS[name]
    values = tuple(source.encode_value(value) for value in VALUES)
    outbound = Outbound(Invocation(target="news", arguments=values), source)
    assert list(outbound.frames()) == [name]
    crossed: list[bytes] = []
    bus_end = MemoryBackplane(bus)
    bus_end.subscribe("care:all", crossed.append)
    here.send(here.everybody, outbound)
    assert [each.frames for each in people] == [[outbound.frame(each.codec)] for each in people]
    assert len(crossed) == 1
    assert len(crossed[0]) <= len(outbound.frame(source)) + 1


async def test_a_frame_that_begins_like_one_of_json_is_not_taken_for_one(bus: MemoryBus) -> None:
    here, there = pod(bus), pod(bus)
    bob = RecordingLink("2", "bob", "messagepack")
    there.add(bob)
    source = CODECS["messagepack"]
    sizes = [Outbound(Invocation("news", (source.encode_value("x" * size),)), source) for size in range(200)]
    for outbound in sizes:
        here.send(here.everybody, outbound)
    assert bob.frames == [outbound.frame(source) for outbound in sizes]
    # Its first byte is its length: that of a brace is among them, and those with which arrays begin.
    assert {b"{"[0], 0x92, 0x93, 0xC1} <= {frame[0] for frame in bob.frames}


class SocketIoLink(RecordingLink):
    """A connection of another protocol."""

    @property
    def codec(self) -> Codec:
        return PACKETS


PACKETS = SocketIoCodec("/hub")


@pytest.mark.parametrize("name", ["json", "messagepack"])
async def test_what_another_pod_says_is_made_once_for_those_of_another_protocol(bus: MemoryBus, name: str) -> None:
    here, there = pod(bus), pod(bus)
    people = [SocketIoLink("1"), RecordingLink("2", "bob", "messagepack"), SocketIoLink("3"), RecordingLink("4")]
    for each in people:
        there.add(each)
    source = CODECS[name]
    value = {"a": ["\x1e", 1.5, None, "é"]}
    here.send(here.everybody, Outbound(Invocation("news", (source.encode_value(value),)), source))
    here.send(here.everybody, Outbound(Invocation("news", (value,))))
    for each in people:
        assert each.frames == [each.codec.encode(Invocation("news", (value,)))] * 2
    assert all(one is other for one, other in zip(people[0].frames, people[2].frames, strict=True))


async def test_what_was_made_here_crosses_in_every_format(bus: MemoryBus) -> None:
    mixed = Outbound(Invocation("news", (CODECS["json"].encode_value("x"), 7)), CODECS["json"])
    assert [set(outbound.frames()) for outbound in (news("x"), mixed)] == [{"json", "messagepack"}] * 2


async def test_excluded_connections_hear_nothing_on_either_pod(bus: MemoryBus) -> None:
    here, there = pod(bus), pod(bus)
    ann, again, bob = RecordingLink("1"), RecordingLink("2"), RecordingLink("3", "bob")
    here.add(ann)
    there.add(again)
    there.add(bob)
    for excluded in ("1", "2"):
        here.send(here.user("c1", "ann"), news(f"user but {excluded}"), frozenset({excluded}))
        here.send(here.everybody, news(f"all but {excluded}"), frozenset({excluded}))
    assert ann.frames == [frame("user but 2"), frame("all but 2")]
    assert again.frames == [frame("user but 1"), frame("all but 1")]
    assert bob.frames == [frame("all but 1"), frame("all but 2")]


async def test_a_user_of_one_clinic_is_none_of_another(bus: MemoryBus) -> None:
    here, ann = pod(bus), RecordingLink("1")
    here.add(ann)
    here.send(here.user("c2", "ann"), news("for somebody else"))
    here.send(here.user("c1", "ann"), news("for her"))
    assert ann.frames == [frame("for her")]


async def test_what_one_format_cannot_say_nobody_hears(bus: MemoryBus) -> None:
    here, people = pod(bus), [RecordingLink("1"), RecordingLink("2", "bob", "messagepack")]
    for each in people:
        here.add(each)
    with pytest.raises(LocalProtocolError):
        here.send(here.everybody, Outbound(Invocation("heard", (2**70,))))
    assert [each.frames for each in people] == [[], []]


async def test_where_pods_cannot_ask_each_other_only_a_local_connection_can_be_asked(bus: MemoryBus) -> None:
    here, there, ann = pod(bus), pod(bus), RecordingLink("1")
    here.add(ann)
    with pytest.raises(Unavailable, match="only listens"):
        await here.ask("1", "howMany", (), None)
    with pytest.raises(Unavailable, match="no such connection"):
        await there.ask("1", "howMany", (), None)


async def test_joining_twice_is_joining_once_and_leaving_leaves(bus: MemoryBus) -> None:
    here, ann = pod(bus), RecordingLink("1")
    here.add(ann)
    here.add_to_group("1", "g")
    here.add_to_group("1", "g")
    here.send(here.group("g"), news("once"))
    here.remove_from_group("1", "g")
    here.remove_from_group("1", "g")
    here.remove_from_group("unknown", "g")
    here.send(here.group("g"), news("never"))
    assert ann.frames == [frame("once")]


async def test_a_removed_connection_is_in_nothing_and_nothing_is_left_of_it(bus: MemoryBus) -> None:
    here, there, ann = pod(bus), pod(bus), RecordingLink("1")
    here.add(ann)
    here.add_to_group("1", "g")
    here.remove(ann)
    here.remove(ann)
    here.add_to_group("1", "g")
    there.send(there.everybody, news("x"))
    there.send(there.group("g"), news("x"))
    there.send(there.user("c1", "ann"), news("x"))
    assert ann.frames == []
    assert len(here) == 0
    assert bus.members[0]._handlers == {}


async def test_groups_of_one_connection_are_bounded(bus: MemoryBus) -> None:
    here = pod(bus, max_groups=2)
    here.add(RecordingLink("1"))
    for name in ("a", "b", "a"):
        here.add_to_group("1", name)
    with pytest.raises(Overloaded):
        here.add_to_group("1", "c")


async def test_a_broadcast_is_encoded_once_per_format(bus: MemoryBus, monkeypatch: pytest.MonkeyPatch) -> None:
    here = pod(bus)
    links = [RecordingLink(str(n), format="json" if n % 2 else "messagepack") for n in range(10)]
    for link in links:
        here.add(link)
    here.send(here.everybody, news("x"))
    assert len({id(link.frames[0]) for link in links}) == 2


async def test_a_connection_that_leaves_during_a_broadcast_does_not_disturb_it(bus: MemoryBus) -> None:
    here = pod(bus)

    class Leaving(RecordingLink):
        def send(self, outbound: Outbound) -> None:
            here.remove(self)

    first, last = Leaving("1"), RecordingLink("2")
    here.add(first)
    here.add(last)
    here.send(here.everybody, news("x"))
    assert last.frames == [frame("x")]


async def test_who_is_here_can_be_told_without_the_others(bus: MemoryBus) -> None:
    here, there = pod(bus), pod(bus)
    ann, bob, cid = RecordingLink("1"), RecordingLink("2", "bob"), RecordingLink("3", "cid")
    here.add(ann)
    here.add(cid)
    there.add(bob)
    for lifetime, link in ((here, ann), (here, cid), (there, bob)):
        lifetime.add_to_group(link.connection_id, "device:d1")
    there.add_to_group("2", "device:d2")
    here.add_to_group("1", "other:d3")
    here.send_here(here.group("device:d1"), news("here"), excluded=frozenset({"3"}))
    assert (ann.frames, bob.frames, cid.frames) == ([frame("here")], [], [])
    assert here.groups_here("device:") == ("device:d1",)
    assert (here.has_here("device:d1"), here.has_here("device:d2")) == (True, False)
