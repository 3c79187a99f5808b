"""Everything that takes part in a run, brought up in order and taken down by pid whatever happens.

Server, database, a proxy before every client, phones as processes, fitters as tasks of this one. What they go through
is for the nemesis. Read ``staged`` first.
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import jwt
import msgspec

from clients.hub_client import HubClient
from protocol.contract.base import EARS
from protocol.contract.devices import RegisteredAid
from protocol.contract.registration import RegisterDevice
from protocol.signalr.codec import ProtocolName
from tests.chaos.database import Database, database
from tests.chaos.fitter import FitterWorker
from tests.chaos.history import HistoryFile
from tests.chaos.patience import OPTIONS, RECONNECT
from tests.chaos.plan import Plan
from tests.chaos.processes import PhoneProcess, ProcessFailed, ServerProcess
from tests.chaos.proxy import Proxy, proxy
from tests.chaos.waiting import LANDS_S, holds_within
from tests.chaos.wire import Caller, Tally

__all__ = ["CLINIC", "LEASE_TTL_S", "Stage", "staged"]

CLINIC: Final = "canary-clinic"
FIRMWARE: Final = "2.3.1"
PROTOCOLS: Final[tuple[ProtocolName, ...]] = ("json", "messagepack")
TRANSPORTS: Final = ("signalr", "signalr", "socketio")
_READER: Final = ("--user", "reader", "--clinic", "any", "--role", "clinician", "--expires-in", "86400")
LEASE_TTL_S: Final = 3.0
DEAD_MAN_S: Final = "9"
WRITE_MS: Final = "40"
SERVER: Final = {
    "AURICLE_KEEP_ALIVE_S": "1",
    "AURICLE_CLIENT_TIMEOUT_S": "3",
    "AURICLE_LEASE_TTL_S": str(LEASE_TTL_S),
    "AURICLE_OFFER_TIMEOUT_S": "1.5",
    "AURICLE_SWEEP_S": "0.2",
    "AURICLE_FREEZE_AFTER_S": "4",
    "AURICLE_DEAD_MAN_S": DEAD_MAN_S,
    "AURICLE_DISCONNECT_TIMEOUT_S": "3",
    "AURICLE_CLOSE_TIMEOUT_S": "0.5",
    "AURICLE_DRAIN_S": "3",
    "AURICLE_QUESTION_AFTER_S": "1",
}
# What the wearers say to a package, and whether they keep it, in turn.
WEARERS: Final = (("yes", "no"), ("never", "yes"), ("no", "yes"), ("yes", "yes"))


@dataclass(slots=True)
class Stage:
    """The parts. Phones and fitters by their lane; ``proxies`` by the lane of the client that they are before.

    ``texts`` are what the server has told outside of its log, by channel.
    """

    plan: Plan
    folder: Path
    server: ServerProcess
    database: Database
    history: HistoryFile
    tally: Tally
    tokens: "Tokens"
    proxies: dict[str, Proxy] = field(default_factory=dict)
    phones: dict[str, PhoneProcess] = field(default_factory=dict)
    fitters: dict[str, FitterWorker] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def devices(self) -> list[str]:
        """The names of all devices."""
        return [phone.name for phone in self.phones.values()]

    def phone_of(self, device: str) -> PhoneProcess:
        """The phone that carries a device."""
        return next(phone for phone in self.phones.values() if phone.name == device)

    def canaries(self) -> list[str]:
        """What must not be told anywhere outside of the database."""
        people = [*self.fitters, *(f"canary-patient-{lane}" for lane in self.phones)]
        serials = [serial_of(device, ear) for device in self.devices for ear in EARS]
        return [CLINIC, *self.devices, *people, *serials, *self.tokens.minted, "chaos fitter-"]


class Tokens:
    """Tokens for everybody, minted with the key that the server was given."""

    def __init__(self) -> None:
        self.key = secrets.token_urlsafe(48)
        self.minted: list[str] = []
        self._claims: dict[str, object] = {}

    def learn(self, token: str) -> None:
        """Take the form of the claims from a token of the server's own command."""
        self._claims = jwt.decode(token, options={"verify_signature": False})

    def mint(self, user: str, *roles: str) -> str:
        """One more, in the same form."""
        claims = self._claims | {"sub": user, "clinic": CLINIC, "roles": list(roles)}
        self.minted.append(jwt.encode(claims, self.key, algorithm="HS256"))
        return self.minted[-1]


def serial_of(device: str, ear: str) -> str:
    """The serial of one aid."""
    return f"{device}-{ear[0].upper()}"


@asynccontextmanager
async def staged(plan: Plan, folder: Path) -> AsyncIterator[Stage]:
    """All parts, running; ended with the block."""
    async with AsyncExitStack() as stack:
        stage = await _server(plan, folder, stack)
        for number in range(plan.profile.devices):
            await _phone(stage, f"phone-{number}", number, stack)
        for number in range(plan.profile.fitters):
            await _fitter(stage, f"fitter-{number}", number, stack)
        yield stage


async def _server(plan: Plan, folder: Path, stack: AsyncExitStack) -> Stage:
    data = folder / "data"
    data.mkdir()
    tokens = Tokens()
    kept = stack.enter_context(database(plan.database, data))
    environ = SERVER | kept.environ | {"AURICLE_DEV_SIGNING_KEY": tokens.key}
    history = stack.enter_context(HistoryFile(folder / "runner.jsonl", "runner"))
    proxies: dict[str, Proxy] = {}

    def ready(url: str) -> None:
        for each in proxies.values():
            each.aim(url)

    server = ServerProcess(folder, environ, ready)
    if kept.needs_migration:
        await server.command("migrate")
    await server.start()
    stack.push_async_callback(server.stop)
    tokens.learn(await server.command("token", *_READER))
    return Stage(plan, folder, server, kept, history, Tally(), tokens, proxies)


async def _phone(stage: Stage, lane: str, number: int, stack: AsyncExitStack) -> None:
    device = f"canary-device-{number}"
    stage.proxies[lane] = await stack.enter_async_context(proxy(stage.server.url))
    folder = stage.folder / lane
    (folder / "aids").mkdir(parents=True)
    await _register(stage, lane, device)
    token = stage.tokens.mint(f"canary-patient-{lane}", "patient", "device")
    arguments = ["--url", stage.proxies[lane].url, "--token", token, "--device", device]
    # Every third phone is on Socket.IO; the fitters are on SignalR.
    arguments += ["--transport", TRANSPORTS[number % 3]]
    arguments += ["--protocol", PROTOCOLS[number % 2], "--write-ms", WRITE_MS, "--dead-man-s", DEAD_MAN_S]
    installs, keeps = WEARERS[number % len(WEARERS)]
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
    fitters = tuple(f"fitter-{number}" for number in range(stage.plan.profile.fitters))
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
        session.post(f"{stage.server.url}/api/v1/devices", data=msgspec.json.encode(body)) as answer,
    ):
        assert answer.status == 201, await answer.text()
    stage.history.write("ok", "register", device, serials=[aid.serial for aid in aids.values()])


async def _fitter(stage: Stage, lane: str, number: int, stack: AsyncExitStack) -> None:
    stage.proxies[lane] = await stack.enter_async_context(proxy(stage.server.url))
    history = stack.enter_context(HistoryFile(stage.folder / f"{lane}.jsonl", lane))
    hub = HubClient(
        f"{stage.proxies[lane].url}/hub",
        token=stage.tokens.mint(lane, "clinician"),
        protocol=PROTOCOLS[number % 2],
        reconnect=RECONNECT,
        options=OPTIONS,
    )
    await stack.enter_async_context(hub)
    caller = Caller(lane, hub, history, stage.tally)
    seed = f"{stage.plan.seed} {lane}"
    stage.fitters[lane] = FitterWorker(caller, stage.devices, seed=seed)
