"""Which connection carries which device: the newest wins, and what goes takes only what is still its own."""

from dataclasses import dataclass, field
from typing import cast

from signaling.backplane import MemoryBackplane, MemoryBus
from signaling.flows.phones import Phone, Phones
from signaling.hub import Caller
from signaling.hub_clients import HubClients
from signaling.lifetime import LifetimeManager


@dataclass
class Line:
    """A connection that can be broken off."""

    connection_id: str
    ends: list[str] = field(default_factory=list)

    def abort(self) -> None:
        self.ends.append("aborted")

    def phone(self) -> Phone:
        return Phone(cast(Caller, self), generation=1, settled=0, heard_s=0.0)


def pod() -> Phones:
    backplane = MemoryBackplane(MemoryBus())
    lifetime = LifetimeManager("care", backplane, max_groups=8, reached=lambda _: None)
    return Phones(clients=HubClients(lifetime), backplane=backplane, monotonic=lambda: 0.0)


def carried(phones: Phones) -> set[str]:
    return {device for device, _ in phones.all()}


def test_a_connection_that_goes_takes_its_devices_and_no_others() -> None:
    phones, line, other = pod(), Line("c1"), Line("c2")
    for device in ("d1", "d2"):
        phones.carry(device, line.phone())
    phones.carry("d3", other.phone())
    assert {device for device, _ in phones.drop("c1")} == {"d1", "d2"}
    assert carried(phones) == {"d3"}
    assert tuple(phones.drop("c1")) == ()


def test_what_a_newer_connection_carries_does_not_go_with_the_one_before() -> None:
    phones, line, newer = pod(), Line("c1"), Line("c2")
    phones.carry("d1", line.phone())
    phones.carry("d2", line.phone())
    phones.carry("d1", newer.phone())
    assert (line.ends, newer.ends) == (["aborted"], [])
    assert [device for device, _ in phones.drop("c1")] == ["d2"]
    assert carried(phones) == {"d1"}
    assert [device for device, _ in phones.drop("c2")] == ["d1"]


def test_a_phone_that_attaches_again_on_its_connection_goes_once() -> None:
    phones, line = pod(), Line("c1")
    for _ in range(2):
        phones.carry("d1", line.phone())
    assert line.ends == []
    assert [device for device, _ in phones.drop("c1")] == ["d1"]
