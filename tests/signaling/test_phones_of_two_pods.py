"""A phone hears what is meant for it, and in that order, whichever pod it hangs on."""

from dataclasses import dataclass, field
from typing import cast

from protocol.contract.sessions import ModeChanged, RevertNow
from signaling.backplane import MemoryBackplane, MemoryBus
from signaling.flows.phones import Phone, Phones
from signaling.hub import Caller
from signaling.hub_clients import HubClients
from signaling.lifetime import LifetimeManager


@dataclass
class Carried:
    """What one connection was sent."""

    connection_id: str = "c-1"
    heard: list[object] = field(default_factory=list)

    def send(self, _: str, payload: object) -> None:
        self.heard.append(payload)


def pod(bus: MemoryBus) -> Phones:
    backplane = MemoryBackplane(bus)
    lifetime = LifetimeManager("care", backplane, max_groups=8, reached=lambda _: None)
    return Phones(clients=HubClients(lifetime), backplane=backplane, monotonic=lambda: 0.0)


def test_why_live_work_has_ended_reaches_the_phone_of_another_pod_behind_the_request_to_restore() -> None:
    bus = MemoryBus()
    here, there, carried = pod(bus), pod(bus), Carried()
    there.listen("d1", lambda: None)
    there.carry("d1", Phone(cast(Caller, carried), generation=1, settled=0, heard_s=0.0))
    told = (
        RevertNow(device="d1", fence=1, cause="session_ended"),
        ModeChanged(device="d1", mode="standard", state="none", reason="link_slow"),
    )
    assert [here.relay("d1", one) for one in told] == [False, False]
    assert carried.heard == list(told)
    assert [there.relay("d1", one) for one in told] == [True, True]
