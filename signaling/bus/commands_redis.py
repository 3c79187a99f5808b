"""Every command that the bus sends to Redis, and no other: an ACL is written from this list.

Read ``COMMANDS``; ``Verbs`` are those that differ between servers.
"""

from dataclasses import dataclass
from typing import Final

__all__ = ["COMMANDS", "PLAIN", "SENTINEL_COMMANDS", "SHARDED", "Verbs"]

# Beside AUTH, which no ACL forbids.
COMMANDS: Final = (
    "ping",
    "info",
    "cluster|slots",
    "publish",
    "subscribe",
    "unsubscribe",
    "spublish",
    "ssubscribe",
    "sunsubscribe",
    "get",
    "mget",
    "set",
    "del",
    "pexpire",
    "hset",
    "hdel",
    "hmget",
    "hgetall",
    "sadd",
    "srem",
    "smembers",
)
SENTINEL_COMMANDS: Final = ("sentinel|get-master-addr-by-name",)


@dataclass(frozen=True, slots=True)
class Verbs:
    """How to publish and to listen, and what a message is called that comes of it."""

    publish: bytes
    subscribe: bytes
    unsubscribe: bytes
    message: bytes


# Within a cluster a plain message goes to every node, a sharded one to the node of its channel alone.
SHARDED: Final = Verbs(b"SPUBLISH", b"SSUBSCRIBE", b"SUNSUBSCRIBE", b"smessage")
PLAIN: Final = Verbs(b"PUBLISH", b"SUBSCRIBE", b"UNSUBSCRIBE", b"message")
