"""A hub that streams, waits and fails as a test wants, and notes how its methods end."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import ClassVar

import msgspec
from msgspec import Raw

from protocol.errors import HubException, Unavailable
from signaling.hub import Caller, Hub, hub_method
from signaling.policy import ANYONE, Relation, Rule

METHODS = (
    "Echo Tell Wait Ask AskLater Join Shout Count Chunks Endless Fails Crashes Sum First Gather Slowly Double Swell "
    "Pair Linger Heed Abort GivesUp GivesUpUpload GivesUpItems"
)


class Thing(msgspec.Struct):
    """Something that belongs to the user whose name it bears."""

    owner: str


class Rehearsal(Hub):
    """``gate`` holds methods that wait, ``steps`` those that go step by step.

    ``produced`` counts the items that generators have made, or that were taken step by step.
    """

    path: ClassVar[str] = "/rehearsal"
    name: ClassVar[str] = "rehearsal"
    policy: ClassVar[Mapping[str, Rule]] = {
        **dict.fromkeys(METHODS.split(), ANYONE),
        "ForPatients": Rule({"patient": Relation.ANY}),
        "Mine": Rule({"clinician": Relation.OWN, "patient": Relation.OWN}, "owner"),
        "MinePlus": Rule({"clinician": Relation.OWN}, "owner"),
    }

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.steps = asyncio.Semaphore(0)
        self.notes: list[str] = []
        self.produced = 0

    def on_expiring(self, caller: Caller, left_s: float) -> None:
        self.notes.append(f"{left_s:g} s left")

    async def on_disconnected(self, caller: Caller) -> None:
        self.notes.append("disconnected")

    @hub_method("Echo")
    def echo(self, _: Caller, value: Raw) -> Raw:
        return value

    @hub_method("Tell")
    def tell(self, _: Caller, note: str) -> None:
        self.notes.append(note)

    @hub_method("Wait")
    async def wait(self, _: Caller, number: int) -> int:
        self.notes.append(f"wait {number}")
        await self.gate.wait()
        return number

    @hub_method("Ask")
    async def ask(self, caller: Caller, target: str) -> Raw:
        try:
            return await caller.ask(target)
        except Unavailable as error:
            self.notes.append(f"ask: {error.public_message}")
            raise

    @hub_method("AskLater")
    async def ask_later(self, caller: Caller, target: str) -> Raw:
        await self.gate.wait()
        return await self.ask(caller, target)

    @hub_method("Join")
    def join(self, caller: Caller, group: str) -> None:
        caller.groups.add(group)

    @hub_method("Shout")
    def shout(self, caller: Caller, group: str, word: str, times: int) -> None:
        for _ in range(times):
            caller.clients.group(group).send("heard", word)

    @hub_method("Count")
    async def count(self, _: Caller, n: int) -> AsyncIterator[int]:
        for number in range(n):
            self.produced += 1
            yield number

    @hub_method("Chunks")
    async def chunks(self, _: Caller, n: int, size: int) -> AsyncIterator[str]:
        try:
            for _number in range(n):
                self.produced += 1
                yield "x" * size
        finally:
            await asyncio.sleep(0.02)  # a clean-up that takes its time
            self.notes.append("chunks ended")

    @hub_method("Endless")
    async def endless(self, _: Caller, name: str) -> AsyncIterator[str]:
        self.notes.append(f"{name} began")
        try:
            yield name
            await asyncio.Event().wait()
        finally:
            # A clean-up that waits must be waited for.
            await asyncio.sleep(0)
            self.notes.append(f"{name} ended")

    @hub_method("Fails")
    async def fails(self, _: Caller, n: int, words: str) -> AsyncIterator[int]:
        for number in range(n):
            yield number
        raise HubException(words)

    @hub_method("Crashes")
    async def crashes(self, _: Caller, n: int) -> AsyncIterator[int]:
        for number in range(n):
            yield number
        raise RuntimeError("secret-crash-detail")

    @hub_method("Sum")
    async def sum(self, _: Caller, numbers: AsyncIterator[int]) -> int:
        try:
            return sum([number async for number in numbers])
        except HubException as error:
            self.notes.append(f"sum: {error.public_message}")
            raise

    @hub_method("First")
    async def first(self, _: Caller, n: int, numbers: AsyncIterator[int]) -> list[int]:
        found: list[int] = []
        while len(found) < n:
            found.append(await anext(numbers))
        return found

    @hub_method("Gather")
    async def gather(self, _: Caller, numbers: AsyncIterator[int]) -> list[int]:
        self.notes.append("gather waits")
        await self.gate.wait()
        found = [number async for number in numbers]
        self.notes.append(f"gathered {len(found)}")
        return found

    @hub_method("Slowly")
    async def slowly(self, _: Caller, numbers: AsyncIterator[int]) -> list[int]:
        found = []
        async for number in numbers:
            await self.steps.acquire()
            found.append(number)
            self.produced += 1
        return found

    @hub_method("Double")
    async def double(self, _: Caller, numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        async for number in numbers:
            yield 2 * number

    @hub_method("Swell")
    async def swell(self, _: Caller, sizes: AsyncIterator[int]) -> AsyncIterator[str]:
        async for size in sizes:
            yield "x" * size

    @hub_method("Pair")
    async def pair(self, _: Caller, left: AsyncIterator[int], word: str, right: AsyncIterator[str]) -> list[object]:
        return [word, [item async for item in left], [item async for item in right]]

    @hub_method("Linger", cancellable=True)
    async def linger(self, _: Caller, name: str, numbers: AsyncIterator[int]) -> int:
        self.notes.append(f"{name} began")
        try:
            return sum([number async for number in numbers])
        finally:
            await asyncio.sleep(0)  # a clean-up that waits
            self.notes.append(f"{name} ended")

    @hub_method("Heed", cancellable=True)
    async def heed(self, caller: Caller, name: str) -> str:
        self.notes.append(f"{name} began")
        try:
            await (caller.ask("question") if name == "asks" else self.gate.wait())
        except asyncio.CancelledError:
            if name != "obstinate":
                raise
        finally:
            await asyncio.sleep(0)  # a clean-up that waits
            self.notes.append(f"{name} ended")
        return name

    @hub_method("Abort")
    def abort(self, caller: Caller) -> None:
        caller.abort()

    @hub_method("GivesUp")
    async def gives_up(self, _: Caller) -> None:
        raise asyncio.CancelledError

    @hub_method("GivesUpUpload")
    async def gives_up_upload(self, _: Caller, numbers: AsyncIterator[int]) -> None:
        raise asyncio.CancelledError

    @hub_method("GivesUpItems")
    async def gives_up_items(self, _: Caller) -> AsyncIterator[int]:
        yield 1
        raise asyncio.CancelledError

    @hub_method("ForPatients")
    async def for_patients(self, _: Caller) -> AsyncIterator[int]:
        self.notes.append("for patients")
        yield 1

    @hub_method("Mine")
    async def mine(self, _: Caller, thing: Thing) -> AsyncIterator[str]:
        self.notes.append(f"mine {thing.owner}")
        yield thing.owner

    @hub_method("MinePlus")
    async def mine_plus(self, _: Caller, thing: Thing, numbers: AsyncIterator[int]) -> int:
        self.notes.append(f"plus {thing.owner}")
        return sum([number async for number in numbers])
