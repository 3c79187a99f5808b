"""Which server carries what, from what servers say: captured answers of several kinds of them."""

import pytest

from signaling.bus.address import Node
from signaling.bus.learn_redis import slot_of
from signaling.bus.plan import Plan, Seen, plan_of_one, plan_of_slots, seen

INFOS = {
    b"# Server\r\nredis_version:6.2.5\r\nredis_mode:standalone\r\n": Seen(is_cluster=False, is_sharded=False),
    b"# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n": Seen(is_cluster=False, is_sharded=True),
    b"# Server\r\nredis_version:8.2.1\r\nredis_mode:cluster\r\n": Seen(is_cluster=True, is_sharded=True),
    b"# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\nserver_mode:cluster\r\n": Seen(
        is_cluster=True, is_sharded=True
    ),
    b"# Server\r\nredis_version:6.2.5\r\nredis_mode:cluster\r\n": Seen(is_cluster=True, is_sharded=False),
    b"# Server\r\nredis_version:10.0.0\r\n": Seen(is_cluster=False, is_sharded=True),
    b"": Seen(is_cluster=False, is_sharded=False),
    b"redis_version:unstable\r\n\xff": Seen(is_cluster=False, is_sharded=False),
}
ASKED = Node("asked", 7000)
A, B = [b"a", 7001, b"id-a"], [b"b", 7002, b"id-b"]


@pytest.mark.parametrize("info", INFOS)
def test_what_a_server_is(info: bytes) -> None:
    assert seen(info) == INFOS[info]


def test_slots_are_spread_as_the_cluster_says() -> None:
    plan = plan_of_slots([[0, 1, A, B], [2, 6, B], [7, 9, A]], ASKED, 10)
    assert plan == Plan((Node("a", 7001), Node("b", 7002)), True, (0, 0, 1, 1, 1, 1, 1, 0, 0, 0))
    assert plan.by_slot
    assert [plan.node_of(b"%d" % n, int).host for n in (1, 2, 6, 7)] == ["a", "b", "b", "a"]


def test_a_node_without_a_name_is_the_one_that_was_asked() -> None:
    for name in (b"", None):
        assert plan_of_slots([[0, 9, [name, 7001, b"id"]]], ASKED, 10) == Plan((Node("asked", 7001),), True, (0,) * 10)


def test_there_is_no_plan_while_slots_are_nobodys() -> None:
    assert plan_of_slots([[0, 8, A]], ASKED, 10) is None
    assert plan_of_slots([], ASKED, 10) is None


def test_one_server_carries_everything() -> None:
    plan = plan_of_one(ASKED, is_sharded=False)
    assert not plan.by_slot
    assert plan.node_of(b"anything", slot_of) == ASKED


def test_slots_are_those_of_redis() -> None:
    assert [slot_of(name) for name in (b"foo", b"a{foo}b", b"")] == [12182, 12182, 0]
