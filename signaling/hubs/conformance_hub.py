"""A hub for checking any SignalR client or server from outside; off unless the operator turns it on.

Its methods do nothing but exercise the protocol, so it must never run in production. Values pass through
undecoded wherever they are not looked at.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

from msgspec import Raw

from protocol.errors import HubException
from signaling.hub import Caller, Hub, hub_method
from signaling.policy import ANYONE, Rule

__all__ = ["ConformanceHub"]

Number = int | float
METHODS = (
    "Echo Add Fail Crash Count Sum Blob CallMe AskMe JoinGroup LeaveGroup ToGroup ToOthersInGroup ToUser ToAll "
    "Abort Whoami"
)
MAX_BLOB_CHARS = 64 * 1_048_576


class ConformanceHub(Hub):
    """Names are matched without regard to case; nothing else is callable."""

    path: ClassVar[str] = "/hubs/conformance"
    name: ClassVar[str] = "conformance"
    policy: ClassVar[Mapping[str, Rule]] = dict.fromkeys(METHODS.split(), ANYONE)

    @hub_method("Echo")
    def echo(self, _: Caller, value: Raw) -> Raw:
        """Return the argument as it came."""
        return value

    @hub_method("Add")
    def add(self, _: Caller, a: Number, b: Number) -> Number:
        """The sum of two numbers."""
        return a + b

    @hub_method("Fail")
    def fail(self, _: Caller, message: str) -> None:
        """Raise an error whose text the client sees."""
        raise HubException(message)

    @hub_method("Crash")
    def crash(self, _: Caller) -> None:
        """Raise an error of which nothing may reach the client."""
        raise RuntimeError("secret-crash-detail")

    @hub_method("Count")
    async def count(self, _: Caller, n: int, delay_ms: Number) -> AsyncIterator[int]:
        """Yield 0 to n - 1 with a pause after each."""
        if n < 0:
            raise HubException("n must not be negative")
        for number in range(n):
            yield number
            if delay_ms > 0:
                await asyncio.sleep(delay_ms / 1_000)

    @hub_method("Sum", cancellable=True)
    async def sum(self, _: Caller, items: AsyncIterator[Number]) -> Number:
        """The sum of one uploaded stream."""
        total: Number = 0
        async for item in items:
            total += item
        return total

    @hub_method("Blob")
    def blob(self, _: Caller, n: int) -> str:
        """A long text: what the server sends is not limited by what it accepts."""
        if not 0 <= n <= MAX_BLOB_CHARS:
            raise HubException(f"n must be 0 to {MAX_BLOB_CHARS}")
        return "x" * n

    @hub_method("CallMe")
    def call_me(self, caller: Caller, method: str, *arguments: Raw) -> None:
        """Invoke a client method of the caller, without a result."""
        caller.send(method, *arguments)

    @hub_method("AskMe", cancellable=True)
    async def ask_me(self, caller: Caller, method: str, *arguments: Raw) -> Any:
        """Invoke a client method of the caller and return its result."""
        return await caller.ask(method, *arguments)

    @hub_method("JoinGroup")
    def join_group(self, caller: Caller, group: str) -> None:
        """Put the calling connection into a group."""
        caller.groups.add(group)

    @hub_method("LeaveGroup")
    def leave_group(self, caller: Caller, group: str) -> None:
        """Take the calling connection out of a group."""
        caller.groups.remove(group)

    @hub_method("ToGroup")
    def to_group(self, caller: Caller, group: str, method: str, *arguments: Raw) -> None:
        """To every member of a group."""
        caller.clients.group(group).send(method, *arguments)

    @hub_method("ToOthersInGroup")
    def to_others_in_group(self, caller: Caller, group: str, method: str, *arguments: Raw) -> None:
        """To every member of a group but the caller."""
        caller.clients.others_in_group(group).send(method, *arguments)

    @hub_method("ToUser")
    def to_user(self, caller: Caller, user: str, method: str, *arguments: Raw) -> None:
        """To every connection of a user."""
        caller.clients.user(user).send(method, *arguments)

    @hub_method("ToAll")
    def to_all(self, caller: Caller, method: str, *arguments: Raw) -> None:
        """To every connection of this hub."""
        caller.clients.all.send(method, *arguments)

    @hub_method("Abort")
    def abort(self, caller: Caller) -> None:
        """End the caller's connection."""
        caller.abort()

    @hub_method("Whoami")
    def whoami(self, caller: Caller) -> dict[str, Any]:
        """The caller as the server sees it."""
        roles = sorted(caller.principal.roles)
        return {"user": caller.user, "connection_id": caller.connection_id, "roles": roles}
