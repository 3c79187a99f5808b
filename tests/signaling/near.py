"""Two pods in one process over one log in memory and one bus in memory, on one clock that a test sets.

Their parts are the product's own. What real databases and buses do beside is for ``pods``.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from clients.hub_client import HubClient
from protocol.contract.sessions import Done, Heartbeat, Hold, LeaseRenewed
from signaling import assembly
from signaling.assembly_care import CareAssembly
from signaling.backplane import BusState, MemoryBackplane, MemoryBus, Payload
from signaling.config import MEMORY, Config
from signaling.flows.lookout import Lookout
from signaling.hubs.care_hub import CareHub
from signaling.pods.asks import PodAsks
from signaling.pods.directory import MemoryDirectory, PodBoard
from signaling.pods.joined import Joined
from signaling.presence import MemoryPresence, PresenceBoard
from signaling.storage import MemoryStorage, Storage, StorageContext
from tests.eventually import eventually
from tests.signaling.care import Heard
from tests.signaling.conftest import Clock, House, running_house
from tests.signaling.visit import Told, Visit

__all__ = [
    "Near",
    "answers_again",
    "answers_nothing",
    "beat",
    "care_of",
    "near",
    "pass_s",
    "renew",
    "states",
    "waits_for_nobody",
]


PATIENCE_S = 20.0


class NearBus(MemoryBackplane):
    """A bus that is away when a test says so, and loses what a test wants lost."""

    def __init__(self, bus: MemoryBus) -> None:
        super().__init__(bus)
        self.state = BusState.CONNECTED
        self.loses: Callable[[str, bytes], bool] = lambda *_: False

    def publish(self, channel: str, payload: Payload) -> None:
        if self.state is BusState.CONNECTED and not self.loses(channel, payload()):
            super().publish(channel, payload)


@dataclass
class Near:
    """Two pods. Fitters are on the pod ``east``, phones on ``west``; a test moves time for both, and sweeps both."""

    east: House
    west: House
    wall: Clock
    monotonic: Clock
    buses: list[NearBus]
    lookouts: list[Lookout]
    phones: set[str] = field(default_factory=lambda: {"pat"})
    clients: list[HubClient] = field(default_factory=list)

    @property
    def parts(self) -> Any:
        """Those of the fitter's pod."""
        return self.east.parts

    def token(self, *who: str, **more: Any) -> str:
        return self.east.token(*who, **more)

    def app_sessions(self) -> int:
        return self.east.app_sessions() + self.west.app_sessions()

    def sweep(self) -> None:
        """Look at the timers of connections."""
        self.east.sweep()
        self.west.sweep()

    async def sweep_care(self) -> None:
        """Look at live sessions, until all that pods ask of each other is answered."""
        for house in (self.west, self.east):
            await house.sweep_care()
        await self.settle()

    async def settle(self) -> None:
        """Return when nothing is going on any more."""
        flows = [care_of(house)._session._tasks for house in (self.east, self.west)]
        await eventually(lambda: not any(len(tasks) for tasks in flows))

    def bus(self, state: BusState) -> None:
        """The bus goes, or is there again."""
        for bus in self.buses:
            bus.state = state

    async def connect(
        self,
        user: str,
        *roles: str,
        clinic: str = "c1",
        heard: Heard | Told | None = None,
        expires_in_s: float = 3_600,
        on: House | None = None,
    ) -> HubClient:
        """A client of the pod where such people are, or of another."""
        house = on or (self.west if user in self.phones else self.east)
        token = self.token(user, *roles, clinic=clinic, expires_in_s=expires_in_s)
        client = HubClient(f"{house.url}/hub", token=token, reconnect=None)
        if heard is not None:
            heard.listen(client)
        await client.start()
        self.clients.append(client)
        return client


def care_of(house: House) -> CareHub:
    care = house.parts.hubs[0].hub
    assert isinstance(care, CareHub)
    return care


@asynccontextmanager
async def near(monkeypatch: pytest.MonkeyPatch, **changes: object) -> AsyncIterator[Near]:
    """Two pods with a device that is registered."""
    bus, board, people, stored = MemoryBus(), PodBoard(), PresenceBoard(), list[Storage]()
    buses: list[NearBus] = []
    lookouts: list[Lookout] = []
    look_out = CareAssembly.lookout

    def lookout(assembly: CareAssembly, *parts: Any) -> Lookout:
        lookouts.append(look_out(assembly, *parts))
        return lookouts[-1]

    def backplane(_: Joined) -> NearBus:
        buses.append(NearBus(bus))
        return buses[-1]

    def storage(context: StorageContext) -> Storage:
        stored.append(stored[0] if stored else MemoryStorage(context))
        return stored[-1]

    def asks(joined: Joined) -> PodAsks:
        return PodAsks(joined.pod, joined.backplane, max_open=100, reached=joined._metrics.reached)

    monkeypatch.setattr(CareAssembly, "lookout", lookout)
    monkeypatch.setattr(Joined, "_backplane", backplane)
    monkeypatch.setattr(Joined, "_asks", asks)
    monkeypatch.setattr(Joined, "_directory", lambda joined: MemoryDirectory(joined.pod, board))
    monkeypatch.setattr(Joined, "_presence", lambda _: MemoryPresence(people))
    monkeypatch.setattr(assembly, "storage_of", storage)
    # In memory an answer is there soon, however busy the machine is, or never: then it is not waited for.
    config = Config(dev=True, sweep_s=3_600, database_url=MEMORY, pod_ask_s=PATIENCE_S, call_grace_s=0.01)
    config = replace(config, **changes)  # type: ignore[arg-type]  # a test's own words
    clocks = (Clock(), Clock(1_000.0))
    async with AsyncExitStack() as houses:
        east, west = [await houses.enter_async_context(running_house(config, None, clocks=clocks)) for _ in range(2)]
        body = {
            "device": "d1",
            "patient": "pat",
            "assignments": ["ann", "abe"],
            "right": {"serial": "R-1", "model": "ref10", "firmware": "2.3.1"},
        }
        async with east.http.post(f"{east.url}/api/v1/devices", json=body, headers=east.bearer("ann")) as answer:
            assert answer.status == 201
        found = Near(east, west, *clocks, buses, lookouts)
        yield found
        for client in found.clients:
            await client.stop()


async def beat(here: Visit, **more: Any) -> None:
    await here.call("Heartbeat", Heartbeat(device="d1", **more), Done, by=here.pat)


async def renew(here: Visit) -> LeaseRenewed:
    hold = Hold(device="d1", session="s1", fence=here.leased.fence)
    return await here.call("RenewLease", hold, LeaseRenewed)


async def pass_s(pods: Near, here: Visit, seconds: int, *, phone: bool = True, fitter: bool = True) -> None:
    """Time passes in steps of a second; who is there says so every other one."""
    for second in range(seconds):
        pods.wall.now_s += 1
        pods.monotonic.now_s += 1
        pods.sweep()
        if second % 2 == 0:
            if phone:
                await beat(here)
            if fitter:
                await renew(here)
        await pods.sweep_care()


def states(pods: Near) -> tuple[str, str]:
    """The session as the fitter's pod knows it, and the phone's."""
    return care_of(pods.east)._session.state_of("d1"), care_of(pods.west)._session.state_of("d1")


def answers_nothing(pods: Near) -> None:
    """The pod of the phone says nothing any more, as if it were dead and nobody had noticed."""
    pods.buses[1].loses = lambda *_: True
    waits_for_nobody(pods)


def waits_for_nobody(pods: Near) -> None:
    """From now on questions between pods have no answer that is worth waiting for."""
    for house in (pods.east, pods.west):
        care_of(house)._session._judging._far._patience_s = 0.05


def answers_again(pods: Near) -> None:
    """It was not dead."""
    pods.buses[1].loses = lambda *_: False
    for house in (pods.east, pods.west):
        care_of(house)._session._judging._far._patience_s = PATIENCE_S
