"""The server as a process that can be killed: the product's own wiring over a disk that survives it.

Must not know who its clients are. Read ``Server.start``.
"""

import asyncio
import dataclasses
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Final, Protocol

import pytest

from fitting.log_over_store import LogStore, StoredDeviceLog
from fitting.outbox import DueItem
from signaling.app import _look_after, _Told
from signaling.assembly_care import CareAssembly
from signaling.config import MEMORY, Config
from signaling.hub import Endpoint, Hub, endpoints_of
from signaling.hub_server import HubServer
from signaling.log import LogBook
from signaling.metrics import Metrics
from signaling.storage import MemoryStorage, Storage, StorageContext
from signaling.stores.assignments import DeviceGrants
from signaling.stores.devices import MemoryDeviceStore

from .disk import Disk, Stores
from .links import Point
from .loop import Process
from .push import PushService, SeenOutbox, SeenTokens

__all__ = ["CONFIG", "EPOCH_S", "MakeLog", "Server", "SimBook", "Watcher"]

CONFIG: Final = Config(dev=True, database_url=MEMORY, sweep_s=1.0)
# Unix time at the loop's zero.
EPOCH_S: Final = 1_700_000_000.0
_KEY: Final = b"simulated signing key, 32 bytes."
MakeLog = Callable[[LogStore, Callable[[], str]], StoredDeviceLog]


class Watcher(Protocol):
    """Hears of what falls due."""

    def taken(self, item: DueItem, name: str) -> None:
        """An item was taken from the outbox; a push for it would be called ``name``."""
        ...

    def unreachable(self) -> None:
        """It is not known how the phone could be woken."""
        ...


class _Silence:
    """Where log lines go."""

    def info(self, *_: object, **__: object) -> None: ...

    warning = error = info


class SimBook(LogBook):
    """Keeps what must not happen: a call that crashed, a task that failed."""

    def __init__(self) -> None:
        self._log = _Silence()
        self.crashes: list[tuple[str, BaseException]] = []

    def call_crashed(self, *, connection: str, hub: str, method: str, error: BaseException) -> None:
        self.crashes.append((method, error))

    def task_failed(self, *, owner: str, error: BaseException) -> None:
        self.crashes.append((owner, error))

    def device_failed(self, *, device: str, error: BaseException) -> None:
        self.crashes.append((device, error))


class Server:
    """One life of the server. ``devices`` are registered once and for all; ``seen`` hears of what falls due."""

    def __init__(
        self,
        disk: Disk,
        devices: MemoryDeviceStore,
        chance: random.Random,
        make_log: MakeLog,
        *,
        push: PushService,
        point: Point,
        seen: Watcher,
        max_reports: int,
    ) -> None:
        self.process = Process("server")
        self.book = SimBook()
        self.hub_server: HubServer
        self.log: StoredDeviceLog
        self._disk, self._devices, self._chance, self._make_log = disk, devices, chance, make_log
        self._push, self._point, self._seen = push, point, seen
        self._limits = dataclasses.replace(CONFIG.log_limits, max_reports=max_reports)

    async def start(self) -> None:
        """Be there for clients."""
        await self.process.spawn(self._assemble())

    async def _assemble(self) -> None:
        loop = asyncio.get_running_loop()
        stores = await self._disk.stores(self.process, self._limits)
        self.log = self._make_log(stores.log, self._new_id)
        # Before anything is wired: whatever is made of the storage has to be made of this one.
        with _what_is_the_same_remembered(lambda context: self._storage(context, stores)):
            parts = CareAssembly(CONFIG, _KEY, self.book, lambda: EPOCH_S + loop.time(), loop.time)
            parts.notifier = self._push.for_server(self.process)
            self.log._troubled = parts.troubles.met
            parts.grants = DeviceGrants(self._devices, parts.people.assignments)
            care = parts.care()
        self.hub_server, self._packages = care.server, care.packages
        self.process.spawn(self._sweep())
        told = _Told(self.book)
        self.process.spawn(_look_after("care", care.sweep, told, CONFIG.sweep_s))
        self.process.spawn(_look_after("packages", care.packages.sweep, told, CONFIG.sweep_s))

    def _storage(self, context: StorageContext, stores: Stores) -> Storage:
        storage = MemoryStorage(context)
        storage.log, storage.devices = self.log, self._devices
        storage.outbox = SeenOutbox(stores.outbox, self._saw, self.process, self._point)
        storage.push_tokens = SeenTokens(stores.tokens, self._seen.unreachable)
        return storage

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(CONFIG.sweep_s)
            self.hub_server.sweep()

    def _saw(self, item: DueItem) -> None:
        kind = "package" if item.kind == "push" else "question"
        self._seen.taken(item, self._packages._opaque(kind, item))

    def _new_id(self) -> str:
        return f"{self._chance.getrandbits(64):016x}"


@cache
def _metrics() -> Metrics:
    return Metrics()


_ENDPOINTS: Final[dict[str, Mapping[str, Endpoint]]] = {}


def _endpoints_of(hub: Hub) -> Mapping[str, Endpoint]:
    if hub.name not in _ENDPOINTS:
        _ENDPOINTS[hub.name] = endpoints_of(hub)
    known = _ENDPOINTS[hub.name]
    return {name: dataclasses.replace(one, call=getattr(hub, one.call.__name__)) for name, one in known.items()}


@contextmanager
def _what_is_the_same_remembered(storage: Callable[[StorageContext], Storage]) -> Iterator[None]:
    """Counters and the look at a hub's annotations: the same in every life, and slow to make."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("signaling.assembly.Metrics", _metrics)
        patch.setattr("signaling.assembly.storage_of", storage)
        patch.setattr("signaling.dispatcher.endpoints_of", _endpoints_of)
        yield
