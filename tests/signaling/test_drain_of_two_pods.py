"""Of two pods one ends: those of the other are told nothing of it, for they lose nothing."""

from clients.hub_client import HubClient
from protocol.contract.session import Draining
from signaling.config import Config
from signaling.hub_clients import HubClients
from signaling.pushes import push
from signaling.server import RETRY_AFTER_MS, drain
from tests.eventually import eventually
from tests.signaling.pods_around import around
from tests.signaling.visit import Told

BEHIND_MS = 7


async def test_only_who_loses_a_connection_is_told_to_come_back() -> None:
    async with around() as scene:
        told = {"east": Told(), "west": Told()}
        people = []
        for pod, heard in zip(scene.pods, told.values(), strict=True):
            hub = HubClient(f"{pod.url}/hub", token=pod.token(), reconnect=None)
            heard.listen(hub)
            await hub.start()
            people.append(hub)
        await drain(scene.west.parts, Config(drain_s=5))
        # Of one pod on one channel, so it comes behind whatever came before it.
        push(HubClients(scene.west.parts.hubs[0].lifetime).all, Draining(retry_after_ms=BEHIND_MS))
        await eventually(lambda: told["east"].of(Draining))
        said = {name: [one.retry_after_ms for one in heard.of(Draining)] for name, heard in told.items()}
        assert said == {"east": [BEHIND_MS], "west": [RETRY_AFTER_MS]}
        for hub in people:
            await hub.stop()
