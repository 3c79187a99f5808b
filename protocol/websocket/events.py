"""What a ``FrameReader`` tells its owner. After a ``CloseFrame`` or a ``Violation`` nothing more will come.

This module must not know how an event comes about. Read ``Event`` first.
"""

from typing import TypeAlias

from msgspec import Struct

__all__ = ["CloseFrame", "Data", "Event", "Message", "PingFrame", "PongFrame", "Violation"]


# Structs, not dataclasses: one is made per frame, in 0.04 us instead of 0.35 us.
class Data(Struct, frozen=True, gc=False):
    """The payload of one text or binary frame, a whole message or a fragment; it may be empty."""

    payload: bytes


class Message(Struct, frozen=True, gc=False):
    """One whole message, from a reader that joins fragments."""

    payload: bytes
    binary: bool


class PingFrame(Struct, frozen=True, gc=False):
    """To be answered by a pong with the same ``payload``; of several, answering the last is enough."""

    payload: bytes


class PongFrame(Struct, frozen=True, gc=False):
    """The peer is there; whether it was asked does not matter."""


class CloseFrame(Struct, frozen=True, gc=False):
    """The peer's last frame; ``code`` is None if it gave none."""

    code: int | None
    reason: str


class Violation(Struct, frozen=True, gc=False):
    """The peer broke a rule: close with ``code``. ``detail`` says which rule, without quoting the peer."""

    code: int
    detail: str


Event: TypeAlias = Data | Message | PingFrame | PongFrame | CloseFrame | Violation
