"""A hub of somebody's own, written with nothing but what hub writers are given."""

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from msgspec import Raw

from signaling.auth import Principal
from signaling.hub import Caller, Hub, hub_method
from signaling.hub_clients import HubClients
from signaling.policy import ANYONE, Relation, Rule

METHODS = "Join Leave Tell TellOne TellMany Who Add Ask AskOne Keep Wait"


class Room(msgspec.Struct):
    """What the rule of ``Enter`` is about."""

    room: str


class OwnRooms:
    """Grants that know rooms: each is its namesake's."""

    async def holds(self, principal: Principal, relation: Relation, object_id: str) -> bool:
        return relation is Relation.OWN and object_id == principal.user


class Party(Hub):
    """``notes`` is what it was constructed with; ``broken`` names the hooks that raise."""

    path: ClassVar[str] = "/hubs/party"
    name: ClassVar[str] = "party"
    policy: ClassVar[Mapping[str, Rule]] = {
        **dict.fromkeys(METHODS.split(), ANYONE),
        "Enter": Rule({"clinician": Relation.OWN}, "room"),
    }
    grants = OwnRooms()

    def __init__(self, notes: list[str], *, broken: frozenset[str] = frozenset()) -> None:
        self.notes = notes
        self.broken = broken
        self.gate = asyncio.Event()
        self.clients: HubClients
        self.kept: Caller

    def on_serving(self, clients: HubClients) -> None:
        self.clients = clients

    async def on_connected(self, caller: Caller) -> None:
        caller.items["name"] = caller.user
        caller.groups.add("guests")
        caller.clients.others_in_group("guests").send("heard", f"{caller.user} came")

    def on_expiring(self, caller: Caller, left_s: float) -> None:
        self._may_break("on_expiring")

    def on_expired(self, caller: Caller) -> None:
        caller.send("heard", "expired")
        self._may_break("on_expired")

    def on_draining(self, clients: HubClients, retry_after_ms: int) -> None:
        clients.all.send("heard", f"back in {retry_after_ms} ms")
        self._may_break("on_draining")

    async def on_disconnected(self, caller: Caller) -> None:
        caller.clients.group("guests").send("heard", f"{caller.items['name']} left")
        self._may_break("on_disconnected")

    def _may_break(self, hook: str) -> None:
        self.notes.append(hook)
        if hook in self.broken:
            raise RuntimeError("secret-crash-detail")

    @hub_method("Join")
    def join(self, caller: Caller, group: str) -> None:
        caller.groups.add(group)

    @hub_method("Leave")
    def leave(self, caller: Caller, group: str) -> None:
        caller.groups.remove(group)

    @hub_method("Enter")
    async def enter(self, caller: Caller, room: Room) -> str:
        return room.room

    @hub_method("Tell")
    def tell(self, caller: Caller, whom: str, what: Raw) -> None:
        getattr(caller.clients, whom).send("heard", what)

    @hub_method("TellOne")
    def tell_one(self, caller: Caller, connection_id: str, what: Raw) -> None:
        caller.clients.connection(connection_id).send("heard", what)

    @hub_method("TellMany")
    def tell_many(self, caller: Caller, kind: str, name: str, excluded: list[str], what: Raw) -> None:
        audience = getattr(caller.clients, kind)(name)
        audience.excluding(*excluded).send("heard", what)

    @hub_method("Who")
    async def who(self, caller: Caller) -> Mapping[str, Any]:
        return caller.items

    @hub_method("Add")
    async def add(self, caller: Caller, key: str, value: str) -> None:
        self.notes.append(key)
        caller.items[key] = value

    @hub_method("Ask")
    async def ask(self, caller: Caller, what: Raw) -> int:
        return 1 + await caller.ask("howMany", what, result=int)

    @hub_method("AskOne")
    async def ask_one(self, caller: Caller, connection_id: str, what: Raw) -> int:
        return 1 + await caller.clients.connection(connection_id).ask("howMany", what, result=int)

    @hub_method("Keep")
    async def keep(self, caller: Caller) -> None:
        self.kept = caller

    @hub_method("Wait")
    async def wait(self, caller: Caller) -> None:
        self.notes.append("waits")
        await self.gate.wait()
        self.notes.append("waited")
