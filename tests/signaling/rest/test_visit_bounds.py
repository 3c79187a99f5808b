"""How much can be kept of visits: one more is answered 429 and counted."""

from tests.signaling.conftest import OpenHouse
from tests.signaling.rest.desk import ask, register
from tests.signaling.visiting import scheduled

NINE = {"startsLocal": "2027-01-15T09:00", "zone": "Europe/Berlin"}


async def test_a_device_has_only_so_many_visits_to_come(open_house: OpenHouse) -> None:
    house = await open_house(max_open_visits=1)
    await register(house)
    first = await ask(house, "POST /devices/d1/visits", NINE)
    assert (await ask(house, "POST /devices/d1/visits", NINE)).status == 429
    assert house.metric("auricle_bound_reached_total", bound="max_open_visits") == 1
    await ask(house, f"PUT /visits/{first.body['visit']}/cancellation", {"reason": "ill"})
    assert (await ask(house, "POST /devices/d1/visits", NINE)).status == 201


async def test_the_memory_store_holds_only_so_many_visits(open_house: OpenHouse) -> None:
    house = await open_house(max_visits=1)
    await register(house)
    await ask(house, "POST /devices/d1/visits", NINE)
    assert (await ask(house, "POST /devices/d1/visits", NINE)).status == 429
    assert house.metric("auricle_bound_reached_total", bound="max_visits") == 1


async def test_a_visit_has_only_so_many_messages(open_house: OpenHouse) -> None:
    house = await open_house(max_visit_messages=1)
    await register(house)
    await scheduled(house)
    message = {"clientId": "c1", "text": "Good morning"}
    assert (await ask(house, "POST /visits/v1/messages", message)).status == 201
    assert (await ask(house, "POST /visits/v1/messages", message | {"clientId": "c2"})).status == 429
    assert (await ask(house, "POST /visits/v1/messages", message)).status == 201, "what is there is there"
    assert house.metric("auricle_bound_reached_total", bound="max_visit_messages") == 1
