"""How many connections one user may have, whatever they speak: one person's token must not fill a server for others."""

import json

import aiohttp
import pytest

from tests.eventually import eventually
from tests.signaling.conftest import House, OpenHouse
from tests.signaling.socketio.by_hand import SocketByHand

NEGOTIATE = "/hub/negotiate?negotiateVersion=1"


async def _negotiated(house: House, user: str) -> tuple[int, str | None]:
    async with house.http.post(house.url + NEGOTIATE, headers=house.bearer(user)) as answer:
        return answer.status, answer.headers.get("Retry-After")


async def test_one_user_may_have_so_many_connections_of_all_kinds_and_others_still_come(open_house: OpenHouse) -> None:
    house = await open_house(max_user_connections=2)
    first = await house.socket(f"{house.url}/hub", headers=house.bearer("ann"))
    await SocketByHand.enter(house, "ann")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await house.socket(f"{house.url}/hub", headers=house.bearer("ann"))
    assert refused.value.status == 429
    assert await _negotiated(house, "ann") == (429, "1")
    over_socketio = await SocketByHand.dial(house)
    await over_socketio.say("0/hub," + json.dumps({"token": house.token("ann")}))
    packet = await over_socketio.packet()
    assert packet.startswith("4/hub,")
    assert json.loads(packet[len("4/hub,") :])["data"] == {"code": "overloaded", "retryable": True}
    assert house.metric("auricle_bound_reached_total", bound="max_user_connections") == 3
    assert (await _negotiated(house, "bob"))[0] == 200
    await first.close()
    await eventually(lambda: house.app_sessions() == 1)
    assert (await _negotiated(house, "ann"))[0] == 200
    for socket in house.sockets:
        await socket.close()
    await eventually(lambda: house.app_sessions() == 0)
    assert not house.parts.hubs[0]._of_user, "who has gone is counted no more"


async def test_users_of_two_clinics_are_two_users_whatever_they_are_called(open_house: OpenHouse) -> None:
    house = await open_house(max_user_connections=1)
    for clinic in ("c1", "c2"):
        await SocketByHand.enter(house, "ann", clinic=clinic)
    assert house.app_sessions() == 2
