"""Everything that takes part in a run, brought up in order and taken down by pid whatever happens.

The server's pods, a proxy before every client, phones as processes, fitters as tasks of this one. What they go through
is for the nemesis. Read ``staged`` first.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from clients.hub_client import HubClient
from protocol.contract.base import EARS
from protocol.contract.devices import RegisteredAid
from protocol.contract.registration import RegisterDevice
from protocol.signalr.codec import ProtocolName
from tests.chaos.crowd import Crowd, crowd
from tests.chaos.fitter import FitterWorker
from tests.chaos.fleet import CLINIC, DEAD_MAN_S, Fleet, Tokens, background, fleet
from tests.chaos.history import HistoryFile
from tests.chaos.patience import OPTIONS, RECONNECT
from tests.chaos.plan import Plan
from tests.chaos.plan_pods import RESUMERS
from tests.chaos.presence import ask_whether_here
from tests.chaos.processes import PhoneProcess, ProcessFailed
from tests.chaos.proxy import MAX_LINKS, Proxy, proxy
from tests.chaos.resumer import Resumer
from tests.chaos.samples import lag, sample
from tests.chaos.waiting import LANDS_S, holds_within
from tests.chaos.wire import Caller, Tally

__all__ = ["PROTOCOLS", "Stage", "staged"]

FIRMWARE: Final = "2.3.1"
PROTOCOLS: Final[tuple[ProtocolName, ...]] = ("json", "messagepack")
WRITE_MS: Final = "40"
# What the wearers say to a package, and whether they keep it, in turn.
WEARERS: Final = (("yes", "no"), ("never", "yes"), ("no", "yes"), ("yes", "yes"))


@dataclass(slots=True)
class Stage:
    """The parts. Phones and fitters by their lane; ``proxies`` by the lane of the client that they are before.

    ``wearers``: what each says to a package and whether he keeps it, by device. ``front`` is where everybody else
    reaches the server. ``texts`` are what it has told outside of its log, by channel.
    """

    plan: Plan
    folder: Path
    fleet: Fleet
    front: Proxy
    history: HistoryFile
    tally: Tally = field(default_factory=Tally)
    proxies: dict[str, Proxy] = field(default_factory=dict)
    phones: dict[str, PhoneProcess] = field(default_factory=dict)
    fitters: dict[str, FitterWorker] = field(default_factory=dict)
    resumers: dict[str, Resumer] = field(default_factory=dict)
    wearers: dict[str, tuple[str, str]] = field(default_factory=dict)
    crowd: Crowd | None = None
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def devices(self) -> list[str]:
        """The names of all devices."""
        return [phone.name for phone in self.phones.values()]

    def phone_of(self, device: str) -> PhoneProcess:
        """The phone that carries a device."""
        return next(phone for phone in self.phones.values() if phone.name == device)

    @property
    def tokens(self) -> Tokens:
        """For everybody."""
        return self.fleet.tokens

    async def link(self, lane: str, stack: AsyncExitStack) -> Proxy:
        """A proxy before a client, through which it reaches a pod as the balancer says."""
        link = await stack.enter_async_context(proxy("", max_links=self.plan.profile.crowd + MAX_LINKS))
        link.follow(self.fleet.balancer.route())
        link.on_link = lambda target: self._went(lane, target)
        self.proxies[lane] = link
        return link

    def _went(self, lane: str, target: str) -> None:
        self.history.write("ok", "route", lane=lane, pod=self.fleet.balancer.pod_at(target))

    def spread(self) -> None:
        """Have phones and fitters connect anew."""
        for lane in (*self.phones, *self.fitters):
            moved = {"fault": "spread", "lane": lane}
            self.history.write("ok", "start", **moved)
            self.proxies[lane].reset()
            self.history.write("ok", "stop", **moved)

    def canaries(self) -> list[str]:
        """What must not be told anywhere outside of the database."""
        people = [*self.fitters, *(f"canary-patient-{lane}" for lane in self.phones)]
        serials = [serial_of(device, ear) for device in self.devices for ear in EARS]
        return [CLINIC, *self.devices, *people, *serials, *self.tokens.minted, "chaos fitter-"]


def serial_of(device: str, ear: str) -> str:
    """The serial of one aid."""
    return f"{device}-{ear[0].upper()}"


@asynccontextmanager
async def staged(plan: Plan, folder: Path) -> AsyncIterator[Stage]:
    """All parts, running; ended with the block."""
    async with AsyncExitStack() as stack:
        history = stack.enter_context(HistoryFile(folder / "runner.jsonl", "runner"))
        pods = await stack.enter_async_context(fleet(plan, folder, history))
        front = await stack.enter_async_context(proxy(""))
        front.follow(pods.balancer.route())
        stage = Stage(plan, folder, pods, front, history)
        await stack.enter_async_context(background(lag(history)))
        for number in range(plan.profile.devices):
            await _phone(stage, f"phone-{number}", number, stack)
        for number in range(plan.fitters):
            await _fitter(stage, f"fitter-{number}", number, stack)
        if plan.pods > 1:
            await _bystanders(stage, stack)
        yield stage


async def _bystanders(stage: Stage, stack: AsyncExitStack) -> None:
    """Who fits nothing and wears nothing, and the scales."""
    token = stage.tokens.mint("crowd", "clinician")
    await stage.link("slow", stack)
    stage.crowd = await stack.enter_async_context(
        crowd(await stage.link("crowd", stack), token, stage.plan.profile.crowd)
    )
    for number, protocol in enumerate(PROTOCOLS):
        lane = RESUMERS[number]
        history = stack.enter_context(HistoryFile(stage.folder / f"{lane}.jsonl", lane))
        stage.resumers[lane] = Resumer(protocol, await stage.link(lane, stack), token, history)
    await stack.enter_async_context(background(sample(stage.fleet, stage.history)))
    for pod in stage.fleet.pods:
        await _asked(stage, pod, stack)


async def _asked(stage: Stage, pod: str, stack: AsyncExitStack) -> None:
    """Have a pod asked of all phones, whichever pods they hang on."""
    balancer, token = stage.fleet.balancer, stage.tokens.mint("reader", "clinician")
    link = await stage.link(f"reader of {pod}", stack)
    link.follow(balancer.fixed(pod))
    work = ask_whether_here(link.url, token, pod, stage.devices, stage.history)
    await stack.enter_async_context(background(work))


async def _phone(stage: Stage, lane: str, number: int, stack: AsyncExitStack) -> None:
    device = f"canary-device-{number}"
    link = await stage.link(lane, stack)
    folder = stage.folder / lane
    (folder / "aids").mkdir(parents=True)
    await _register(stage, lane, device)
    token = stage.tokens.mint(f"canary-patient-{lane}", "patient", "device")
    arguments = ["--url", link.url, "--token", token, "--device", device]
    # The fitters are on SignalR.
    arguments += ["--transport", stage.plan.transports[lane]]
    arguments += ["--protocol", PROTOCOLS[number % 2], "--write-ms", WRITE_MS, "--dead-man-s", DEAD_MAN_S]
    installs, keeps = stage.wearers[device] = WEARERS[number % len(WEARERS)]
    arguments += ["--install", installs, "--keep", keeps]
    stage.history.write("ok", "wearer", device, installs=installs, keeps=keeps)
    for ear in EARS:
        arguments += [f"--{ear}", serial_of(device, ear)]
    stage.phones[lane] = PhoneProcess(device, folder, arguments, stage.history)
    phone = stage.phones[lane]
    await phone.start()
    stack.push_async_callback(phone.stop)
    if not await holds_within(LANDS_S, lambda: len(phone.aids()) == len(EARS)):
        raise ProcessFailed(f"{lane} does not start")
    stage.history.write("ok", "read_aids", device, aids=phone.aids())


async def _register(stage: Stage, lane: str, device: str) -> None:
    aids = {ear: RegisteredAid(serial=serial_of(device, ear), model="ref10", firmware=FIRMWARE) for ear in EARS}
    fitters = tuple(f"fitter-{number}" for number in range(stage.plan.fitters))
    body = RegisterDevice(
        device=device,
        patient=f"canary-patient-{lane}",
        assignments=(*fitters, "reader"),
        left=aids["left"],
        right=aids["right"],
    )
    token = stage.tokens.mint("reader", "clinician")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{stage.front.url}/api/v1/devices", data=msgspec.json.encode(body)) as answer,
    ):
        assert answer.status == 201, await answer.text()
    stage.history.write("ok", "register", device, serials=[aid.serial for aid in aids.values()])


async def _fitter(stage: Stage, lane: str, number: int, stack: AsyncExitStack) -> None:
    link = await stage.link(lane, stack)
    history = stack.enter_context(HistoryFile(stage.folder / f"{lane}.jsonl", lane))
    hub = HubClient(
        f"{link.url}/hub",
        token=stage.tokens.mint(lane, "clinician"),
        protocol=PROTOCOLS[number % 2],
        reconnect=RECONNECT,
        options=OPTIONS,
    )
    await stack.enter_async_context(hub)
    caller = Caller(lane, hub, history, stage.tally)
    seed = f"{stage.plan.seed} {lane}"
    stage.fitters[lane] = FitterWorker(caller, stage.devices, seed=seed)
