"""What happens to a phone and its aids. Each function says whether the fault has landed."""

import asyncio
import os
import signal
import time
from typing import Final

from clients.hub_client import HubClient
from clients.hub_errors import HubCallError
from protocol.contract.base import Failure
from protocol.contract.devices import AttachAnswer, AttachDevice, Offer
from protocol.contract.session import Hello, HelloAnswer
from tests.chaos.faults_server import freeze
from tests.chaos.orders import Orders
from tests.chaos.patience import OPTIONS
from tests.chaos.phone import NamingLog
from tests.chaos.profile import WAITING, Fault
from tests.chaos.proxy import Route
from tests.chaos.stage import Stage
from tests.chaos.waiting import LANDS_S, holds_within
from tests.chaos.wishes import CHANGES, PACKAGES, SAVES

__all__ = [
    "aid_fault",
    "phone_freeze",
    "phone_kill",
    "phone_kill_at",
    "phone_sleep",
    "takeover",
    "takeover_elsewhere",
]

RETRY_S: Final = 0.1
# Phases of what is to be kept.
KEPT: Final = ("committing", "active")
AID_FAULTS: Final = {
    "aid_lies": "lie_readback",
    "aid_corrupts": "corrupt_digest",
    "aid_link_lost": "drop_link_after_chunk",
    "aid_reboots": "reboot_after_chunk",
}


async def phone_kill_at(stage: Stage, fault: Fault) -> bool:
    """The phone dies before or after its journal is saved in a phase."""
    phone = stage.phones[fault.lane]
    phase, _, when = fault.value.rpartition(":")
    deaths = phone.deaths
    phone.give(Orders(phase=phase, when=when))
    steps = PACKAGES if phase == WAITING else SAVES if phase.startswith(KEPT) else CHANGES
    with stage.tally.wishes.open(phone.name, steps):
        return await phone.death_after(deaths, LANDS_S) and phone.has_obeyed


async def phone_kill(stage: Stage, fault: Fault) -> bool:
    """At any moment."""
    phone = stage.phones[fault.lane]
    return await phone.death_after(await phone.strike(signal.SIGKILL), LANDS_S)


async def phone_sleep(stage: Stage, fault: Fault) -> bool:
    """Killed, and not there again for a while: what is for it must wait."""
    phone = stage.phones[fault.lane]
    phone.held_down.clear()
    landed = await phone_kill(stage, fault)
    await asyncio.sleep(fault.length_s)
    phone.held_down.set()
    return landed


async def phone_freeze(stage: Stage, fault: Fault) -> bool:
    """The app is in the background."""
    return await freeze(stage.phones[fault.lane].signal, fault.length_s)


async def aid_fault(stage: Stage, fault: Fault) -> bool:
    """The aid that is written next goes wrong."""
    phone = stage.phones[fault.lane]
    phone.give(Orders(faults={AID_FAULTS[fault.kind]: int(fault.value or 1)}))
    with stage.tally.wishes.open(phone.name):
        return await holds_within(LANDS_S, lambda: phone.has_obeyed)


async def takeover(stage: Stage, fault: Fault) -> bool:
    """Somebody attaches for the same device: the newest wins, and is sent what there is to send."""
    return await _take_over(stage, fault, stage.fleet.balancer.route())


async def takeover_elsewhere(stage: Stage, fault: Fault) -> bool:
    """The same on another pod than the one that the phone hangs on."""
    balancer, link = stage.fleet.balancer, stage.proxies[fault.lane]

    def elsewhere() -> list[str]:
        return [url for url in balancer.route()() if url not in link.targets]

    return await _take_over(stage, fault, elsewhere)


async def _take_over(stage: Stage, fault: Fault, route: Route) -> bool:
    file = os.open(stage.folder / "shadows.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        log = NamingLog(file, device=stage.phones[fault.lane].name, process="shadow")
        return await _Shadow(stage, fault, log, route).run()
    finally:
        os.close(file)


class _Shadow:
    """A second connection of a phone's device that claims what the phone's journal says, and then only listens."""

    def __init__(self, stage: Stage, fault: Fault, log: NamingLog, route: Route) -> None:
        self._stage, self._fault, self._log, self._route = stage, fault, log, route
        self._phone = stage.phones[fault.lane]
        spoken = stage.plan.transports
        own = spoken[fault.lane]
        # Where both are spoken the other one, so that each takes over from the other.
        self._transport = next((each for each in spoken.values() if each != own), own)
        self._generation: int | None = None

    async def run(self) -> bool:
        """Attach, stay a while, leave; whether the server took it. A server that is just down is tried again."""
        end = time.monotonic() + LANDS_S
        while self._generation is None and time.monotonic() < end:
            try:
                for url in self._route()[:1]:
                    async with self._hub(url) as hub, asyncio.timeout(LANDS_S):
                        await self._take_over(hub)
            except (ConnectionError, TimeoutError, HubCallError) as error:
                self._log.write("shadow_gone", error=type(error).__name__)
            if self._generation is None:
                await asyncio.sleep(RETRY_S)
        return self._generation is not None

    def _hub(self, url: str) -> HubClient:
        token = self._stage.tokens.mint(f"canary-patient-{self._fault.lane}", "patient", "device")
        hub = HubClient(f"{url}/hub", token=token, transport=self._transport, reconnect=None, options=OPTIONS)
        hub.on("Offer", self._offered, Offer)
        return hub

    async def _take_over(self, hub: HubClient) -> None:
        await hub.invoke("Hello", Hello(contract=1, app="shadow"), result=HelloAnswer)
        answer = await hub.ask("AttachDevice", self._claim(), answer=AttachAnswer)
        if isinstance(answer, Failure):
            self._log.write("shadow_refused", code=answer.error.code)
            return
        self._generation = answer.generation
        self._log("welcome", answer=answer)
        await asyncio.sleep(self._fault.length_s)

    def _claim(self) -> AttachDevice:
        record = self._phone.journal()
        return AttachDevice(
            device=self._phone.name,
            epoch=record.get("epoch", ""),
            last_terminal=record.get("last_settled", 0),
            fence_max=record.get("fence_max", 0),
        )

    def _offered(self, offer: Offer) -> None:
        self._log("offer_in", offer=offer, gen=self._generation)
