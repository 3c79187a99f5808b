"""Finding out which servers there are and what they can do: asked of themselves, anew after each loss.

Nothing is ever told from the text of an error. Read ``learn`` first.
"""

import asyncio
from contextlib import suppress
from typing import Final

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from .address import BusAddress, BusKind, Node
from .link_redis import Connect, Link, LinkLost
from .plan import Plan, plan_of_one, plan_of_slots, seen

__all__ = ["learn", "slot_of", "until_moved"]

# How often sentinels are asked whether the server has moved.
_LOOKS_S: Final = 5.0


async def learn(
    address: BusAddress, connect: Connect, *, timeout_s: float, before: Plan | None = None, for_keys: bool = False
) -> Plan:
    """Which servers carry what. Raises LinkLost when none of those that are known says so within ``timeout_s`` each.

    ``before``: what was known last; those of its cluster know it when the servers of the address have gone from it.
    ``for_keys``: of a cluster each server has its keys, whatever it does with messages.
    """
    lost = LinkLost("unreachable")
    found = before.nodes if before is not None and before.by_slot else ()
    for node in dict.fromkeys((*address.nodes, *found)):
        try:
            async with asyncio.timeout(timeout_s):
                return await _learn_from(node, address, connect, for_keys=for_keys)
        except TimeoutError:
            lost = LinkLost("timeout")
        except LinkLost as error:
            lost = error
    raise lost


async def until_moved(address: BusAddress, connect: Connect, plan: Plan, *, timeout_s: float) -> None:
    """Return once a sentinel names another server than the one that is served: perhaps never; without sentinels, never.

    Behind an ordered fail-over the old one lives on for a while, and behind a network that is cut in two for as long
    as that is: pods that came later would be on the new one, and neither would hear that anything is amiss.
    """
    if address.kind is not BusKind.SENTINEL:
        await asyncio.get_running_loop().create_future()
    while True:
        await asyncio.sleep(_LOOKS_S)
        for sentinel in address.nodes:
            # Whoever does not say has not said that it has moved.
            with suppress(LinkLost, TimeoutError):
                async with asyncio.timeout(timeout_s):
                    primary = await _primary(sentinel, address, connect)
                if primary not in plan.nodes:
                    return
                break


def slot_of(channel: bytes) -> int:
    """The hash slot of a channel in a cluster."""
    return key_slot(channel)


async def _learn_from(node: Node, address: BusAddress, connect: Connect, *, for_keys: bool) -> Plan:
    if address.kind is BusKind.SENTINEL:
        node = await _primary(node, address, connect)
    link = await connect(node, address.login)
    try:
        what = seen(await link.ask(b"INFO", b"server"))
        if not what.is_cluster or not (what.is_sharded or for_keys):
            # A plain message reaches all nodes of a cluster, so that one of them is enough.
            return plan_of_one(node, is_sharded=what.is_sharded)
        return await _cluster(link, node)
    finally:
        await link.aclose()


async def _cluster(link: Link, node: Node) -> Plan:
    plan = plan_of_slots(await link.ask(b"CLUSTER", b"SLOTS"), node, REDIS_CLUSTER_HASH_SLOTS)
    if plan is None:
        raise LinkLost("slots_uncovered")
    return plan


async def _primary(sentinel: Node, address: BusAddress, connect: Connect) -> Node:
    link = await connect(sentinel, address.sentinel_login)
    try:
        reply = await link.ask(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", address.master.encode())
    finally:
        await link.aclose()
    if not reply:
        raise LinkLost("unknown_master")
    return Node(reply[0].decode(), int(reply[1]))
