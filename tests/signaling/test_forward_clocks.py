"""Pods whose clocks differ by as much as they may: a connection opens wherever its client comes to, once."""

from collections.abc import AsyncIterator

import pytest

from signaling.transports.routes import HubRoutes
from tests.signaling.by_hand import HELLO, Poller, call, negotiate
from tests.signaling.conftest import House
from tests.signaling.pods_around import Around, around

SKEW_S = 200.0
AT_MOST_S = 600.0


@pytest.fixture(params=[-SKEW_S, SKEW_S])
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Around]:
    async with around(bus_skew_s=SKEW_S + 10) as scene:
        scene.west.wall.now_s += request.param
        yield scene


async def client_of(scene: Around, here: House, there: House) -> Poller:
    """Who has negotiated with one pod and comes to another."""
    slower = min(scene.pods, key=lambda pod: pod.wall.now_s)
    # Of an issuer whose clock nobody is behind.
    return Poller(there, await negotiate(here), headers=slower.bearer(expires_in_s=AT_MOST_S * 3))


@pytest.mark.parametrize("towards", ["east", "west"])
async def test_what_one_pod_has_negotiated_the_other_one_opens_once(scene: Around, towards: str) -> None:
    here, there = (scene.west, scene.east) if towards == "east" else (scene.east, scene.west)
    client = await client_of(scene, here, there)
    assert (await client.poll()).status == 200
    await client.shake()
    client.house = here
    await client.send(call("Echo", "there", id_="1"))
    assert (await client.messages(1))[0]["result"] == "there"
    assert there.app_sessions() == 1
    assert (await client.ask("DELETE")).status == 202
    await scene.until(lambda: there.app_sessions() == 0)
    for _ in range(int(AT_MOST_S // 15)):
        for pod in scene.pods:
            client.house = pod
            assert (await client.poll()).status == 404
        for pod in scene.pods:
            pod.pass_s(15)
        await scene.until(lambda: True)


async def test_what_is_posted_first_is_not_kept_for_longer_than_without_other_pods(scene: Around) -> None:
    client = await client_of(scene, scene.east, scene.east)
    assert await client.post(HELLO) == 200
    rooms = [routes._waiting for routes in scene.east.parts.routes if isinstance(routes, HubRoutes)]
    assert any(client.ticket.connection_id in room for room in rooms)
    scene.east.pass_s(16)
    await scene.until(lambda: not any(client.ticket.connection_id in room for room in rooms))
