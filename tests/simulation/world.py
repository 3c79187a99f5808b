"""Everything that takes part in one run, wired up; and the names by which a run can be struck.

Must not decide what happens when. Read ``World.begin``.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec.structs import replace as struct_replace

from clients.device_driver import LinkUnavailable
from clients.virtual_aid.aid import AidChange, VirtualAid
from clients.virtual_aid.faults import Faults
from clients.virtual_aid.memory import factory_image
from clients.virtual_aid.pair import VirtualPair
from fitting.capability import SHEETS
from protocol.contract.base import EARS, Ear
from protocol.contract.devices import EarImage, RegisteredAid
from signaling.stores.devices import DeviceRecord, MemoryDeviceStore

from .chance import Chance
from .checks import AUDIOGRAM, Checks
from .disk import Disk, DiskKind, MemoryDisk, SlowMemoryStore, SqliteDisk
from .handset import DEVICE, Handset, Paper, PhoneParts
from .links import Network
from .loop import SimLoop
from .package_checks import PackageChecks
from .plan import Plan, Step
from .push import PushService
from .sender import Sender
from .server import EPOCH_S, Server
from .watched_log import WatchedLog
from .wearer import SimWearer

__all__ = ["Options", "Traced", "World"]

MODEL: Final = "ref10"
FIRMWARE: Final = "2.3.1"


@dataclass(frozen=True, slots=True)
class Traced:
    """One thing that happened."""

    at_s: float
    what: str
    facts: dict[str, Any]

    def __str__(self) -> str:
        told = " ".join(f"{name}={value}" for name, value in self.facts.items())
        return f"{self.at_s:9.3f} {self.what:<14} {told}"


@dataclass(frozen=True, slots=True)
class Options:
    """How the world is made; a seeded bug replaces one of its parts."""

    disk: DiskKind = "memory"
    store: type[SlowMemoryStore] = SlowMemoryStore
    log: type[WatchedLog] = WatchedLog
    phone: PhoneParts = field(default_factory=PhoneParts)


class World:
    """One run."""

    def __init__(self, plan: Plan, loop: SimLoop, options: Options) -> None:
        self.plan, self.loop, self.options = plan, loop, options
        self.chance = Chance(plan.seed)
        self.trace: list[Traced] = []
        self.began_s = loop.time()
        self.reached: Counter[str] = Counter()
        self.strikes: dict[str, list[Step]] = {}
        self.strike: Callable[[Step], None] = lambda _: None
        self.aids = VirtualPair(*(self._aid(ear) for ear in EARS))
        self.checks = Checks(self.aids, self.now_s)
        self.packages = PackageChecks(self.checks, self.aids, self.now_s, self.unix_s)
        self.push = PushService(self.chance.of("push"), self.point, self.now_s)
        self.push.told, self.push.arrived = self.packages.pushed, self._arrived
        # Until when the phone sleeps, None while it does not.
        self.asleep_until_s: float | None = None
        self._slept_s = 0.0
        self.network = Network(self.chance.of("network"), self.point, lambda: self.chance.new_id("connection"))
        self.disk = self._disk()
        self.devices = MemoryDeviceStore(max_devices=1, reached=lambda _: None)
        self.wearer = SimWearer(self.chance.of("wearer"), agrees=plan.agrees, said=self._said)
        self.paper = Paper(self.point)
        self.handset = Handset(
            self.network,
            self.aids,
            self.paper,
            wearer=self.wearer,
            chance=self.chance.of("phone"),
            touched=self._touched,
            registration=lambda: self.push.registration(DEVICE),
            parts=options.phone,
        )
        self.fitters = {name: self.fitter(name) for name in ("ann", "bob", "eve")}
        self.network.admit("phone", "pat", "patient", "device")
        self.server: Server | None = None
        self.lives: list[Server] = []

    def now_s(self) -> float:
        """Since the beginning."""
        return self.loop.time() - self.began_s

    def unix_s(self) -> float:
        """The log's clock."""
        return EPOCH_S + self.loop.time()

    async def until_awake(self, at_s: float) -> None:
        """Wait for a second of those in which somebody is awake."""
        while (left_s := at_s - (self.now_s() - self._slept_s)) > 0.0:  # noqa: ASYNC110  # hours may go by meanwhile
            await asyncio.sleep(left_s)

    def skip(self, seconds: float) -> None:
        """So much time passes with nobody awake."""
        self._slept_s += seconds
        self.loop.skip(seconds)
        self.checks.slept()
        self.note("slept", hours=round(seconds / 3_600, 2))
        if self.asleep_until_s is not None and self.now_s() >= self.asleep_until_s:
            self.wake_phone()

    def sleep_phone(self, until_s: float) -> None:
        """The app is not running any more, and nothing tells the server so."""
        if self.asleep_until_s is None and self.handset.is_alive:
            self.handset.kill()
        self.asleep_until_s = until_s

    def wake_phone(self) -> None:
        """Somebody opens the app."""
        if self.asleep_until_s is not None:
            self.asleep_until_s = None
            self.note("phone wakes")
            if not self.handset.is_alive:
                self.handset.start()

    async def begin(self) -> None:
        """A registered device, a server, a phone."""
        aids = {ear: RegisteredAid(serial=f"S-{ear}", model=MODEL, firmware=FIRMWARE) for ear in EARS}
        fitters = frozenset(self.fitters)
        # Far more than any gain here: without a measurement no package may raise one.
        stable = {(slot, ear): (600,) * len(SHEETS[MODEL].bands_hz) for slot in (1, 2) for ear in EARS}
        record = DeviceRecord(DEVICE, "c1", "pat", fitters, aids, audiogram=AUDIOGRAM, max_stable_gain_ddb=stable)
        await self.devices.register(record)
        await self.start_server()
        assert self.server is not None
        assert await self.server.log.create(DEVICE, aids) is None
        self.handset.start()

    async def reach_for_aids(self) -> None:
        """As the radio of a phone does by itself: a link that has gone comes back when the aid is in reach."""
        while True:
            await asyncio.sleep(1.0 + self.chance.of("radio").random() * 3.0)
            for ear in EARS:
                aid = self.aids.aid(ear)
                if self.handset.is_alive and not aid.connected:
                    with suppress(LinkUnavailable):
                        await aid.connect()
                        aid._news.set()
            aids = [self.aids.aid(ear) for ear in EARS]
            in_reach = all(aid.connected and not aid.faults.busy for aid in aids) and self.handset.is_alive
            self.checks.look(in_reach=in_reach)

    async def start_server(self) -> None:
        """One more life of the server."""
        server = Server(
            self.disk,
            self.devices,
            self.chance.of("server"),
            self._log,
            push=self.push,
            point=self.point,
            seen=self.packages,
            max_reports=self.plan.max_reports,
        )
        self.lives.append(server)
        await server.start()
        self.server = self.network.server = server
        self.note("server up")

    def kill_server(self) -> None:
        """As with SIGKILL."""
        if self.server is not None and self.server.process.is_alive:
            self.server.process.kill()
            self.network.drop_all()
            self.note("server killed")

    def fitter(self, name: str) -> Sender:
        self.network.admit(name, name, "clinician")
        return Sender(name, self.network, self.chance.of(name), self._heard)

    def point(self, name: str) -> None:
        """Something that may be struck has been reached."""
        self.reached[name] += 1
        for step in self.strikes.pop(f"{name}#{self.reached[name]}", ()):
            self.strike(step)

    def note(self, what: str, **facts: Any) -> None:
        """For whoever replays the run."""
        self.trace.append(Traced(self.now_s(), what, facts))

    def _disk(self) -> Disk:
        given = (self.chance.of("disk"), self.point, self.unix_s, self.chance.new_id("epoch"))
        return SqliteDisk(*given) if self.options.disk == "sqlite" else MemoryDisk(*given, self.options.store)

    def _log(self, store: Any, new_id: Callable[[], str]) -> WatchedLog:
        return self.options.log(store, new_id, self.checks, self.packages, self.note)

    def _said(self, key: tuple[str, int], accepted: bool) -> None:
        self.note("wearer", seq=key[1], installs=accepted)
        self.packages.said(key, accepted=accepted)

    def _arrived(self) -> None:
        """A push shows; the wearer looks, or does not."""
        self.note("push arrives")
        if self.asleep_until_s is not None and (self.push.is_calm or self.chance.of("push").random() < 0.5):
            self.wake_phone()

    def _touched(self, ear: Ear, what: Any, entry: Any) -> None:
        self.note(f"aid {what}", ear=ear, seq=None if entry is None else entry.offer.seq)
        self.checks.touched(ear, what, entry)
        self.packages.touched(ear, what, entry)

    def _heard(self, what: str, **facts: Any) -> None:
        if what == "asked":
            self.checks.asked(facts["target"], facts["payload"])
        elif what == "answered":
            self.checks.answered(facts["target"], facts["payload"], facts["answer"])
            self.note(facts["target"], fitter=facts["fitter"], answer=_shown(facts["answer"]))
        elif what == "submitted":
            self.checks.submitted(facts["answer"], lowers=facts["lowers"])
        else:
            self.note(what, **facts)

    def _aid(self, ear: Ear) -> VirtualAid:
        return VirtualAid(
            ear, f"S-{ear}", MODEL, FIRMWARE, image=_fitted(ear), faults=Faults(), on_change=self._changed
        )

    def _changed(self, change: AidChange) -> None:
        self.checks.changed(change)
        self.packages.changed(change)
        if change.what == "chunk":
            self.point("chunk")
        else:
            self.note(f"aid {change.what}", ear=change.ear)
            if change.what == "committed":
                self.point("nvm")


def _fitted(ear: Ear) -> EarImage:
    """Fitted before, so that there is something to lower."""
    made = factory_image(ear, SHEETS[MODEL].bands_hz)
    [slot] = made.slots
    flat = (200,) * len(made.bands_hz)
    louder = struct_replace(
        slot.program, g50_ddb=flat, g65_ddb=flat, g80_ddb=flat, mpo_ddb=(1_120,) * len(made.bands_hz)
    )
    second = struct_replace(slot, slot=2, name="Quiet", program=slot.program)
    return struct_replace(made, slots=(struct_replace(slot, program=louder), second))


def _shown(answer: Any) -> str:
    error = getattr(answer, "error", None)
    if error is not None:
        return f"refused {error.code} {error.rule}"
    return " ".join(f"{name}={getattr(answer, name)}" for name in ("seq", "fence", "state") if hasattr(answer, name))
